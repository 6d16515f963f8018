"""When to try again with a model that took no job."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_S = 60.0
"""Longest pause of our own choice; a model may ask for a longer one."""


@dataclass(slots=True)
class _Pause:
    until_s: float
    refusals: int
    why: str


class Pauses:
    """Of each model, for each tenant: others' jobs need not wait because one has used up its share."""

    def __init__(self) -> None:
        self._pauses: dict[tuple[str, str], _Pause] = {}

    def refused(self, model: str, tenant: str, *, now_s: float, retry_after_s: float | None, why: str) -> None:
        """A job was refused: pause for as long as was asked, longer with each refusal in a row."""
        before = self._pauses.get((model, tenant))
        if before is not None and before.until_s > now_s:
            before.why = why  # of several that were refused at the same time
            return
        refusals = before.refusals + 1 if before else 1
        pause_s = max(retry_after_s or 0.0, min(LONGEST_S, 0.5 * 2.0 ** min(refusals, 16)))
        self._pauses[model, tenant] = _Pause(now_s + pause_s, refusals, why)

    def taken(self, model: str, tenant: str) -> None:
        """A job was run: the next refusal is the first one."""
        self._pauses.pop((model, tenant), None)

    def tenants(self, model: str, now_s: float) -> list[str]:
        """Whose jobs of this model are not to be tried now."""
        return [tenant for (name, tenant), pause in self._pauses.items() if name == model and pause.until_s > now_s]

    def next_s(self, now_s: float) -> float | None:
        """How long the shortest pause lasts from now on; None if there is none."""
        lasting = [pause.until_s - now_s for pause in self._pauses.values() if pause.until_s > now_s]
        return min(lasting, default=None)

    def why(self, model: str, tenant: str) -> str:
        """Why the last job was refused; "" where none was since one was taken."""
        pause = self._pauses.get((model, tenant))
        return pause.why if pause else ""
