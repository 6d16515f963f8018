"""What a prompt produces, as it comes."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from aquahost.client import StepDone, TextEnd, TextPiece
from aquahost.clock import SystemClock
from aquahost_tui.pace import FRAME_S
from aquahost_tui.steering import Steering
from aquahost_tui.store.plain_words import printable
from aquahost_tui.store.timelines import Timeline
from aquahost_tui.stream import Stream
from aquahost_tui.widgets.plain import step_bar

MOST_SHOWN = 20_000
"""Characters; of longer texts the end is shown."""
_SETTLE_S = 0.15
"""The cursor must stay on a prompt for so long before its text is asked for."""
_RETRY_S = 1.0
_WAITING = "…"


class PromptOutput(VerticalScroll):
    """Follows one prompt's text; steps of an image or a sound are known from snapshots, so that nothing is asked."""

    DEFAULT_CSS = """
    PromptOutput { height: 1fr; scrollbar-size-vertical: 1; }
    PromptOutput Static { height: auto; min-height: 100%; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._timeline: Timeline | None = None
        self._steering: Steering | None = None
        self._stream: Stream[TextPiece | StepDone | TextEnd] | None = None
        self._settle: Timer | None = None
        self._frames: Timer | None = None
        self._has_come = False
        """Whether the text is of this stream; until a word has come, that of the one before stays."""
        self._text = ""
        self._note = ""
        self._drawn = Content("")

    def compose(self) -> ComposeResult:
        """The text."""
        yield Static()

    def on_mount(self) -> None:
        """The end stays in view unless one scrolls up; frames are only for while a text is followed."""
        self.anchor()
        self._frames = self.set_interval(FRAME_S, self._take, pause=True)

    def on_unmount(self) -> None:
        """Leave nothing behind that reads."""
        self.leave()

    def show_prompt(self, timeline: Timeline | None, steering: Steering) -> None:
        """Show what this one produces; another one than before is followed from its first word on."""
        if (timeline and timeline.view.id) != (self._timeline and self._timeline.view.id):
            self.leave()
            self._text, self._note = "", ""
            self.anchor()
            if timeline is not None and timeline.view.kind == "text":
                self._begin(timeline, steering)
        self._timeline = timeline
        self._draw()

    def leave(self) -> None:
        """Stop to follow; what was read stays until another prompt is shown."""
        if self._settle is not None:
            self._settle.stop()
        if self._stream is not None:
            self._stream.stop()
        self._settle = self._stream = None
        if self._frames is not None:
            self._frames.pause()

    def resume(self, steering: Steering) -> None:
        """Follow again, if there is more to come."""
        timeline = self._timeline
        if self._stream is None and timeline is not None and timeline.view.kind == "text" and timeline.ended_s is None:
            self.leave()
            self._begin(timeline, steering)

    def _begin(self, timeline: Timeline, steering: Steering) -> None:
        if steering.is_recording:
            self._note = "a recording holds how prompts fared, not what they said"
        elif timeline.ended_s is not None:
            self._note = "it has ended, and its text was not followed here"
        else:
            self._note = _WAITING
            self._steering = steering
            self._settle = self.set_timer(_SETTLE_S, self._follow)

    def _follow(self) -> None:
        timeline, steering = self._timeline, self._steering
        if timeline is None or steering is None or timeline.ended_s is not None or self._frames is None:
            return
        prompt_id = timeline.view.id
        self._has_come = False
        self._stream = Stream(steering.watching, lambda client, _: client.prompt_output(prompt_id), SystemClock())
        self._frames.resume()

    def _take(self) -> None:
        stream = self._stream
        if stream is None:
            return
        news = [item for _, item in stream.take()]
        if news:
            self._add(news)
        if stream.is_over:
            self.leave()
            if stream.trouble is not None:
                self._note = stream.trouble
                self._settle = self.set_timer(_RETRY_S, self._follow)
        if news or stream.is_over:
            self._draw()

    def _add(self, news: Sequence[TextPiece | StepDone | TextEnd]) -> None:
        if not self._has_come:
            self._has_come, self._text = True, ""
        self._text += "".join(printable(item.text) for item in news if isinstance(item, TextPiece))
        end = next((item for item in news if isinstance(item, TextEnd)), None)
        self._note = f"ended: {end.finish_reason}" if end is not None else ""

    def _draw(self) -> None:
        timeline = self._timeline
        if timeline is None:
            content = Content("")
        elif timeline.view.kind != "text":
            content = step_bar(timeline.view.steps_done or 0, timeline.view.steps or 0, self.size.width)
        else:
            cut = "… " if len(self._text) > MOST_SHOWN else ""
            note = ("\n" if self._text and self._note else "") + self._note
            content = Content.assemble(cut + self._text[-MOST_SHOWN:], (note, "$foreground-muted"))
        if content != self._drawn:
            self._drawn = content
            self.query_one(Static).update(content)
