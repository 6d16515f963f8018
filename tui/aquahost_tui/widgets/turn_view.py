"""One prompt and its reply in a conversation."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from aquahost_tui.store.plain_words import printable
from aquahost_tui.trial import Turn
from aquahost_tui.widgets.media_view import MediaView
from aquahost_tui.widgets.plain import step_bar


class TurnView(Vertical):
    """What was asked, what came back, and the figures once it has ended."""

    DEFAULT_CSS = """
    TurnView { height: auto; margin-bottom: 1; }
    TurnView Static { height: auto; }
    TurnView .asked { color: $text-primary; text-style: bold; }
    """

    def __init__(self, turn: Turn, kind: str) -> None:
        """`kind`: the model's."""
        super().__init__()
        self._turn = turn
        self._kind = kind
        self._waits_for = "…"

    def compose(self) -> ComposeResult:
        """Three texts; a picture or a waveform comes between them once it is there."""
        yield Static(Content(f"› {printable(self._turn.asked)}"), classes="asked")
        yield Static(classes="reply")
        yield Static(classes="end")

    def on_mount(self) -> None:
        """Show what is there already."""
        self.show_turn()

    def show_turn(self, waits_for: str = "") -> None:
        """Show the turn as it is now; `waits_for` says in words what it waits for before anything has come."""
        self._waits_for = waits_for or self._waits_for
        if not self.query(".reply"):
            return  # its parts are not there yet; they are filled when they come
        reply, words = self.query_one(".reply", Static), self._reply()
        reply.update(words)
        reply.display = bool(words)
        end = self.query_one(".end", Static)
        end.update(self._end())
        if self._turn.was_dropped:
            self.query(MediaView).remove()
        if self._turn.media is not None and not self.query(MediaView):
            self.mount(MediaView(self._kind, self._turn.media), before=end)

    def _reply(self) -> Content:
        turn = self._turn
        if turn.was_dropped:
            return Content.styled("kept here no longer", "$foreground-muted")
        if turn.step is not None and turn.media is None:
            return step_bar(turn.step.step, turn.step.steps, self.size.width or 60)
        if turn.text or not turn.is_running or turn.media is not None:
            return Content(printable(turn.text))
        return Content.styled(self._waits_for, "$foreground-muted")

    def _end(self) -> Content:
        turn = self._turn
        lines = []
        if turn.trouble:
            lines.append(Content.styled(printable(turn.trouble), "$text-error"))
        if figures := turn.figures():
            lines.append(Content.styled(figures, "$foreground-muted"))
        if turn.saved:
            lines.append(Content.styled(f"saved as {turn.saved}", "$text-success"))
        elif turn.media is not None:
            lines.append(Content.styled("ctrl+s saves it here", "$foreground-muted"))
        return Content("\n").join(lines)
