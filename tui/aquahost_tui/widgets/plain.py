"""Small pieces of text that several widgets show."""

from __future__ import annotations

from textual.content import Content

from aquahost_tui.widgets.loading import progress_bar

_MOST_BAR = 60


def step_bar(done: int, steps: int, width: int) -> Content:
    """How many of its steps an image or a sound has come."""
    words = f" {done} of {steps} steps" if steps else f" {done} steps"
    bar = progress_bar(done / steps if steps else 0.0, max(min(width - len(words), _MOST_BAR), 0))
    return Content.assemble((bar, "$text-success"), words)
