"""All that is known of one prompt, in words."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from aquahost.events import Event, EventKind
from aquahost.messages.snapshot import PromptView
from aquahost.messages.words import state_words
from aquahost.units import format_seconds
from aquahost_tui.clock_words import clock_of
from aquahost_tui.store.life import Slices, slices_of
from aquahost_tui.store.store import Store
from aquahost_tui.store.timelines import Timeline
from aquahost_tui.widgets.cells import PROMPT_TONES, Tone, short_seconds

_ENDS = (EventKind.PROMPT_FINISHED, EventKind.PROMPT_CANCELLED, EventKind.PROMPT_FAILED)
_NAME_WIDTH = 12

Fact = tuple[str, str, Tone]
"""What it is about, the words, and what their colour says."""


class PromptFacts(Widget):
    """A line for each fact."""

    DEFAULT_CSS = """
    PromptFacts { height: auto; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._facts: list[Fact] = []

    def show_prompt(self, timeline: Timeline | None, store: Store) -> None:
        """Show this one, as it is now."""
        facts = facts_of(timeline, store) if timeline is not None else []
        if facts != self._facts:
            self.refresh(layout=len(facts) != len(self._facts))
            self._facts = facts

    def render(self) -> Content:
        """Names in a column, words beside them."""
        return Content("\n").join(
            Content.assemble((f"{name:<{_NAME_WIDTH}}", "$foreground-muted"), (words, tone.variable)).truncate(
                self.size.width, ellipsis=True
            )
            for name, words, tone in self._facts
        )


def facts_of(timeline: Timeline, store: Store) -> list[Fact]:
    """The facts, the most important first."""
    view = timeline.view
    return [
        _state(timeline, store),
        ("in line", _position(timeline), Tone.PLAIN),
        ("done", _done(view), Tone.PLAIN),
        ("speed", _speed(timeline), Tone.PLAIN),
        ("first after", format_seconds(view.first_token_s) if view.first_token_s is not None else "–", Tone.PLAIN),
        ("age", f"{format_seconds(view.age_s)}, {format_seconds(view.waited_s)} of it waiting", Tone.PLAIN),
        ("computed", f"{format_seconds(view.service_s)} of device time{_share(view)}", Tone.PLAIN),
        ("slices", _slices(slices_of(timeline)), Tone.PLAIN),
        ("model", _model(view, store), Tone.PLAIN),
        ("tenant", view.tenant, Tone.PLAIN),
        ("interrupted", _times(view.interruptions), Tone.WARN if view.interruptions else Tone.PLAIN),
    ]


def _state(timeline: Timeline, store: Store) -> Fact:
    view = timeline.view
    if timeline.ended_s is None:
        return ("state", state_words(view.state, view.place.replace(", GPU ", ",")), PROMPT_TONES[view.state])
    end = _end_of(view.id, store)
    if end is None:
        return ("state", "ended", Tone.DIM)
    tone = Tone.GOOD if end.kind is EventKind.PROMPT_FINISHED else Tone.BAD
    return ("state", f"ended: {end.kind.removeprefix('prompt.')} at {clock_of(end.at)}", tone)


def _end_of(prompt_id: str, store: Store) -> Event | None:
    found = (event for event in reversed(store.events) if event.prompt_id == prompt_id and event.kind in _ENDS)
    return next(found, None)


def _position(timeline: Timeline) -> str:
    view = timeline.view
    if timeline.ended_s is not None or view.position is None:
        return "–"
    if not view.position:
        return "takes part in steps"
    return (
        f"#{view.position}, its turn in about {short_seconds(view.next_slice_s)}"
        if view.next_slice_s
        else f"#{view.position}"
    )


def _done(view: PromptView) -> str:
    if view.kind == "text":
        asked = f" of {view.max_tokens}" if view.max_tokens else ""
        return f"{view.output_tokens}{asked} tokens out, {view.input_tokens} in"
    return f"{view.steps_done or 0} of {view.steps or '?'} steps"


def _speed(timeline: Timeline) -> str:
    unit = "tokens/s" if timeline.view.kind == "text" else "steps/s"
    rate = timeline.rate.per_s
    return f"{rate:.1f} {unit}" if rate and timeline.ended_s is None else "–"


def _share(view: PromptView) -> str:
    return f" ({view.service_s / view.age_s:.0%})" if view.age_s > 0 else ""


def _model(view: PromptView, store: Store) -> str:
    models = store.snapshot.models if store.snapshot else []
    gpu = next((model.gpu for model in models if model.name == view.model), None)
    return f"{view.model} ({view.kind})" if gpu is None else f"{view.model} ({view.kind}) on GPU {gpu}"


def _slices(slices: Slices) -> str:
    if not slices.count:
        return "none seen yet"
    gap = f", gaps to {short_seconds(slices.longest_gap_s)}" if slices.longest_gap_s else ""
    return f"{slices.count} of {short_seconds(slices.mean_s)}{gap}"


def _times(count: int) -> str:
    return "never" if not count else f"{count} time{'' if count == 1 else 's'}: its worker ended"
