"""What a maltreated daemon has come to: checks that must hold, and times that are only told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aquahost.traces.replies import quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something of which there must be none."""

    name: str
    found: int
    details: list[str] = field(default_factory=list)
    """What was found, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long something took, over and over; in seconds, None where it never happened."""

    name: str
    count: int
    p50_s: float | None
    p99_s: float | None
    max_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run. It is whole if nothing was found of what must not be."""

    counts: dict[str, int]
    """How much of what was done."""
    checks: list[Check]
    times: list[Times]
    took_s: float

    @property
    def is_whole(self) -> bool:
        """Whether every check holds."""
        return not any(check.found for check in self.checks)


def none_of(name: str, details: Sequence[object]) -> Check:
    """A check of which each detail is one case."""
    return Check(name=name, found=len(details), details=[str(detail) for detail in details])


def times(name: str, taken_s: Sequence[float]) -> Times:
    """The quantiles of what something took."""
    ordered = sorted(taken_s)
    return Times(
        name=name,
        count=len(ordered),
        p50_s=quantile(ordered, 0.5),
        p99_s=quantile(ordered, 0.99),
        max_s=quantile(ordered, 1),
    )
