"""Measured times that jump about, made steady."""

from __future__ import annotations

_WEIGHT = 0.1
"""Of what was measured last."""


def smooth(old: float, new: float) -> float:
    """An exponentially weighted mean, after `new`; 0 stands for nothing measured yet."""
    return old + _WEIGHT * (new - old) if old else new
