"""How a trained model does on what no training has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is measured of a trained model."""

    parameters: int
    passed: int
    checked: int
    failures: Sequence[str]
    """What was asked for and did not come."""
    more: Mapping[str, str] = field(default_factory=dict)
    """Other figures by their names."""
