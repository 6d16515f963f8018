"""How a live prompt stands, in the words that people read: the same in tables and in comments of streams."""

from __future__ import annotations

from aquahost.messages.prompts import PromptState
from aquahost.units import format_seconds

AT_WORK = (PromptState.PREFILLING, PromptState.RUNNING)
"""States of a prompt that takes part in steps."""


def state_words(state: PromptState, place: str) -> str:
    """The state's own word, or where a suspended prompt's KV has gone: "paged to GPU 3", "paged to host"."""
    return f"paged to {place}" if state is PromptState.SUSPENDED and place else str(state)


def standing_words(state: PromptState, place: str, position: int | None, next_slice_s: float | None) -> str:
    """State, place in line and estimate in one line: "waiting, 12 before you, about 1.4 s"."""
    words = state_words(state, place)
    about = f"about {_rough_seconds(next_slice_s)}" if next_slice_s else ""
    if state is PromptState.WAITING and position is not None:
        # Place 0 is that of a prompt which the next step takes in.
        ahead = "next in line" if position <= 1 else f"{position - 1} before you"
        return ", ".join(part for part in (words, ahead, about) if part)
    if state is PromptState.SUSPENDED and about:
        return f"{words}, next slice in {about}"
    return words


def _rough_seconds(seconds: float) -> str:
    """Rounded so that an estimate that hardly changes keeps its words."""
    if seconds < 9.95:
        return f"{max(seconds, 0.1):.1f} s"
    return f"{seconds:.0f} s" if seconds < 59.5 else format_seconds(seconds)
