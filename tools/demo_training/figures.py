"""How a trained model does on what no training has seen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of a model that makes pictures or sounds."""

    parameters: int
    passed: int
    checked: int
    failures: list[str]
    """What was asked for, and did not come."""
