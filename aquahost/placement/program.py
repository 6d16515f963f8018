"""A mixed-integer linear program, built row by row and solved by SciPy's HiGHS."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

_INFEASIBLE = 2
_INFEASIBLE_OR_UNBOUNDED = 4
Terms = Mapping[int, float]
"""Coefficients by variable."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The best point found."""

    values: Any
    value: float
    """Of the objective."""
    bound: float
    """HiGHS's own: no point has less."""

    def __getitem__(self, variable: int) -> float:
        return float(self.values[variable])

    def chosen(self, variable: int) -> int:
        """A whole variable's value."""
        return round(float(self.values[variable]))


class UnsolvedError(Exception):
    """The limit on nodes or seconds was reached before any point was found."""


class Program:
    """Minimises. The same program gives the same solution as long as it is limited by nodes, not by seconds."""

    def __init__(self) -> None:
        self._low: list[float] = []
        self._high: list[float] = []
        self._whole: list[bool] = []
        self._rows: list[tuple[Terms, float, float]] = []

    def variable(self, low: float = 0.0, high: float = math.inf, *, whole: bool = False) -> int:
        """A new variable's number."""
        self._low.append(low)
        self._high.append(high)
        self._whole.append(whole)
        return len(self._low) - 1

    def binary(self) -> int:
        """A new variable that is 0 or 1."""
        return self.variable(0, 1, whole=True)

    def row(self, terms: Terms, low: float = -math.inf, high: float = math.inf) -> None:
        """`low` ≤ the terms' sum ≤ `high`."""
        self._rows.append((terms, low, high))

    def fix(self, variable: int, value: float) -> None:
        """Leave the variable this value alone."""
        self._low[variable] = self._high[variable] = value

    def solve(
        self,
        objective: Terms,
        *,
        gap: float = 1e-6,
        nodes: int | None = None,
        seconds: float | None = None,
        relaxed: bool = False,
    ) -> Solution | None:
        """The best point within a relative `gap`, or the best of `nodes` nodes or `seconds`; None if there is none.

        With `relaxed` whole variables may be broken. Raises UnsolvedError if the limits did not suffice to find any.
        """
        costs = np.zeros(len(self._low))
        for variable, coefficient in objective.items():
            costs[variable] = coefficient
        limits = {"node_limit": nodes, "time_limit": seconds}
        options = {"mip_rel_gap": gap} | {name: limit for name, limit in limits.items() if limit is not None}
        found = milp(
            costs,
            integrality=None if relaxed else np.array(self._whole, dtype=int),
            bounds=Bounds(np.array(self._low), np.array(self._high)),
            constraints=self._constraints(),
            options=options,
        )
        if found.x is None:
            if found.status in (_INFEASIBLE, _INFEASIBLE_OR_UNBOUNDED):
                return None
            raise UnsolvedError(found.message)
        bound = found.mip_dual_bound
        return Solution(found.x, float(found.fun), float(found.fun if bound is None else bound))

    def _constraints(self) -> list[LinearConstraint]:
        if not self._rows:
            return []
        numbers, variables, coefficients = [], [], []
        for number, (terms, _, _) in enumerate(self._rows):
            for variable, coefficient in terms.items():
                numbers.append(number)
                variables.append(variable)
                coefficients.append(coefficient)
        matrix = csr_array((coefficients, (numbers, variables)), shape=(len(self._rows), len(self._low)))
        return [LinearConstraint(matrix, [row[1] for row in self._rows], [row[2] for row in self._rows])]


def total(*parts: Terms | Iterable[int]) -> dict[int, float]:
    """The sum of terms, and of variables with coefficient 1."""
    added: dict[int, float] = {}
    for part in parts:
        pairs = part.items() if isinstance(part, Mapping) else ((variable, 1.0) for variable in part)
        for variable, coefficient in pairs:
            added[variable] = added.get(variable, 0.0) + coefficient
    return added


def scaled(terms: Terms, factor: float) -> dict[int, float]:
    """The terms times `factor`."""
    return {variable: coefficient * factor for variable, coefficient in terms.items()}
