"""A prompt's life as a line of time: when it waited, was computed, and where its KV lay meanwhile."""

from __future__ import annotations

from string import ascii_letters, digits

from textual.content import Content
from textual.widget import Widget

from aquahost.messages.prompts import PromptState
from aquahost_tui.store.life import accepted_s, cells_of, tick_step_s, until_s
from aquahost_tui.store.timelines import Span, Timeline
from aquahost_tui.widgets.cells import PROMPT_TONES, Tone, short_seconds

LAST_S = 30.0
"""How much is shown of a life that is not shown whole."""
_GLYPHS = {PromptState.WAITING: "░", PromptState.PREFILLING: "▓", PromptState.RUNNING: "█"}
_UNSEEN = "·"
_HOST, _SEVERAL, _IN_PLACE = "⌂", "+", "-"
_GPUS = digits + ascii_letters
"""A character for each GPU: a is GPU 10, A is GPU 36."""
_FAR = "#"
"""GPUs beyond those."""
_LEAST_TICK_CELLS = 9
_LEGEND = (
    (_GLYPHS[PromptState.RUNNING], PromptState.RUNNING, "running"),
    (_GLYPHS[PromptState.PREFILLING], PromptState.PREFILLING, "prefill"),
    (_GLYPHS[PromptState.WAITING], PromptState.WAITING, "waiting"),
    ("4", PromptState.SUSPENDED, "GPU 4, a GPU 10"),
    (_HOST, PromptState.SUSPENDED, "host"),
    (_SEVERAL, PromptState.SUSPENDED, "several"),
    (_IN_PLACE, PromptState.SUSPENDED, "paused"),
)


class PromptLife(Widget):
    """Three lines: the life, its axis and the legend."""

    DEFAULT_CSS = """
    PromptLife { height: 3; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._timeline: Timeline | None = None
        self.is_whole = True
        """Whether all of its life is shown, or only the last half minute."""

    def show_prompt(self, timeline: Timeline | None) -> None:
        """Show this one, as it is now."""
        self._timeline = timeline
        self.refresh()

    def turn(self) -> None:
        """Show the whole life, or its end."""
        self.is_whole = not self.is_whole
        self.refresh()

    def render(self) -> Content:
        """The lines, as far as the width allows."""
        if self._timeline is None:
            return Content("")
        width = self.size.width
        ended_s = until_s(self._timeline)
        life_s = ended_s - accepted_s(self._timeline)
        shown_s = life_s if self.is_whole else min(life_s, LAST_S)
        cells = cells_of(self._timeline, ended_s - shown_s, ended_s, width)
        lines = [
            Content.assemble(*(_cell(span) for span in cells)),
            Content.styled(axis(life_s - shown_s, life_s, width), "$foreground-muted"),
            _legend(),
        ]
        return Content("\n").join(line.truncate(width, ellipsis=True) for line in lines)


def glyph_of(span: Span | None) -> str:
    """One character: a shade, or what holds the KV: "7" is GPU 7, "b" is GPU 11, "⌂" is host memory."""
    if span is None:
        return _UNSEEN
    if span.state is not PromptState.SUSPENDED:
        return _GLYPHS[span.state]
    places = [place.strip() for place in span.place.split(",") if place.strip()]
    if len(places) != 1:
        return _SEVERAL if places else _IN_PLACE
    number = places[0].removeprefix("GPU ")
    if number == places[0]:
        return _HOST
    return _GPUS[int(number)] if int(number) < len(_GPUS) else _FAR


def axis(began_s: float, ended_s: float, width: int) -> str:
    """Marks at round ages of the prompt, each with its age."""
    if width <= 0 or ended_s <= began_s:
        return ""
    span_s = ended_s - began_s
    step_s = tick_step_s(span_s, width, _LEAST_TICK_CELLS)
    line = [" "] * width
    number = -(-began_s // step_s)
    while (age_s := number * step_s) <= ended_s:
        at = round((age_s - began_s) / span_s * width)
        label = f"╵{_age(age_s)}"
        if at + len(label) <= width:
            line[at : at + len(label)] = label
        number += 1
    return "".join(line)


def _age(age_s: float) -> str:
    if age_s >= 60:
        return short_seconds(age_s)
    return f"{age_s:.1f}".rstrip("0").rstrip(".") + "s"


def _cell(span: Span | None) -> tuple[str, str]:
    tone = Tone.DIM if span is None else PROMPT_TONES[span.state]
    return glyph_of(span), tone.variable


def _legend() -> Content:
    pieces = [
        Content.assemble((glyph, PROMPT_TONES[state].variable), (f" {words}", "$foreground-muted"))
        for glyph, state, words in _LEGEND
    ]
    return Content("  ").join(pieces)
