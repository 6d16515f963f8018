"""What has become of each prompt: the spans of its life, its rate, and those that ended lately."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import PromptView
from aquahost_tui.store.series import Rate

MOST_SPANS = 400
MOST_ENDED = 200


@dataclass(frozen=True, slots=True)
class Span:
    """A time that a prompt stood one way."""

    state: PromptState
    place: str
    began_s: float
    ended_s: float | None = None
    """When nobody watched any more; None where the next one followed."""


@dataclass(slots=True)
class Timeline:
    """One prompt since it was first seen."""

    view: PromptView
    """As it was last seen."""
    seen_s: float
    spans: deque[Span] = field(default_factory=lambda: deque(maxlen=MOST_SPANS))
    rate: Rate = field(default_factory=Rate)
    """Tokens, or steps, a second."""
    ended_s: float | None = None

    def note(self, view: PromptView, at_s: float, *, unwatched: bool = False) -> None:
        """How it stands now; `unwatched`: what became of it since it was last seen is not known."""
        if self.spans and unwatched:
            self.spans[-1] = replace(self.spans[-1], ended_s=self.seen_s)
        self.view, self.seen_s = view, at_s
        place = view.place if view.state is PromptState.SUSPENDED else ""
        if not self.spans or unwatched or (self.spans[-1].state, self.spans[-1].place) != (view.state, place):
            self.spans.append(Span(view.state, place, at_s))
        self.rate.add(at_s, view.output_tokens + (view.steps_done or 0))


class Timelines:
    """Every live prompt's, by id, and the last ones that ended, oldest first."""

    def __init__(self) -> None:
        self.live: dict[str, Timeline] = {}
        self.ended: deque[Timeline] = deque(maxlen=MOST_ENDED)

    def take(self, views: Iterable[PromptView], at_s: float, *, unwatched: bool = False) -> None:
        """The live prompts at this instant; `unwatched`: nothing was seen of them for a while."""
        before, now = self.live, dict[str, Timeline]()
        for view in views:
            timeline = before.pop(view.id, None) or Timeline(view, at_s)
            timeline.note(view, at_s, unwatched=unwatched)
            now[view.id] = timeline
        for timeline in before.values():
            timeline.ended_s = at_s
            self.ended.append(timeline)
        self.live = now

    def find(self, prompt_id: str) -> Timeline | None:
        """A live prompt, or one that ended lately."""
        if prompt_id in self.live:
            return self.live[prompt_id]
        return next((one for one in reversed(self.ended) if one.view.id == prompt_id), None)
