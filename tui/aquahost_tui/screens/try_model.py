"""A place to try a model: a chat with a language model, or a picture or a sound from the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from aquahost.clock import SystemClock
from aquahost.file_names import free_name
from aquahost.messages.snapshot import ModelState, ModelView
from aquahost_tui.asking import SUFFIXES, ask
from aquahost_tui.pace import FRAME_S
from aquahost_tui.screens.top_screen import TopScreen
from aquahost_tui.store.store import Store
from aquahost_tui.stream import Stream
from aquahost_tui.trial import Conversation, Reply, Turn
from aquahost_tui.widgets.loading import load_words
from aquahost_tui.widgets.media_view import MediaView
from aquahost_tui.widgets.model_choice import ModelChoice
from aquahost_tui.widgets.model_state import state_word
from aquahost_tui.widgets.turn_view import TurnView

_LOW, _NARROW = 30, 100


class TryScreen(TopScreen):
    """Models at the left, the conversation with the chosen one at the right, and under it where one types. One prompt
    at a time; it goes on while one looks at other places."""

    NAME = "try"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Stop, or leave", id="try.back", tooltip="Stop the prompt; without one, go back"),
        Binding("ctrl+s,s", "save", "Save", id="try.save", tooltip="Save the last image or sound in this folder"),
        Binding("ctrl+l", "anew", "Begin anew", id="try.anew", tooltip="Forget the conversation with this model"),
        Binding("up", "model(-1)", "Model before", id="try.up", show=False, tooltip="Choose the model before this one"),
        Binding("down", "model(1)", "Next model", id="try.down", show=False, tooltip="Choose the next model"),
        Binding("pageup", "scroll(-1)", "Up", id="try.pageup", show=False, tooltip="Scroll the conversation up"),
        Binding("pagedown", "scroll(1)", "Down", id="try.pagedown", show=False, tooltip="Scroll it down"),
    ]

    def __init__(self, title: str, places: Sequence[tuple[str, str]]) -> None:
        super().__init__(title, places)
        self._clock = SystemClock()
        self._talks: dict[str, Conversation] = {}
        self._shown: Conversation | None = None
        self._hint = ""
        self._stream: Stream[Reply] | None = None
        self._open: tuple[Conversation, Turn] | None = None
        """What the stream is the reply to."""
        self._frames: Timer | None = None

    def body(self) -> Iterable[Widget]:
        """Models, conversation, input."""
        models = Vertical(ModelChoice("choice"), id="choice-box", classes="box")
        models.border_title = "models"
        talk = VerticalScroll(Vertical(Static(id="hint"), id="turns"), id="talk", classes="box")
        yield Horizontal(models, Vertical(talk, Input(id="words"), id="right"), id="try-body")

    def on_mount(self) -> None:
        """Keys go to where one types, if anything can be sent."""
        words = self.query_one("#words", Input)
        refusal = self._host.steering.refusal
        words.disabled = refusal is not None
        words.placeholder = refusal or "type a prompt; Enter sends it"
        (self.query_one(ModelChoice) if words.disabled else words).focus()
        self.query_one("#talk", VerticalScroll).anchor()
        self._frames = self.set_interval(FRAME_S, self._take)

    def on_screen_suspend(self) -> None:
        """Nobody looks, if another place is gone to: what comes is taken later."""
        if self._frames is not None and self not in self.app.screen_stack:
            self._frames.pause()

    def on_screen_resume(self) -> None:
        """Take what has come."""
        if self._frames is not None:
            self._frames.resume()

    def on_unmount(self) -> None:
        """A prompt that nobody waits for any more is cancelled."""
        if self._stream is not None:
            self._stream.stop()

    def on_resize(self, event: events.Resize) -> None:
        """With or without frames, and a shorter list where it is narrow."""
        self.set_class(event.size.height < _LOW, "-low")
        self.set_class(event.size.width < _NARROW, "-narrow")
        for view in self.query(MediaView):
            self.call_after_refresh(view.fit)

    # -- what is shown -----------------------------------------------------------------------------------------

    def show(self, store: Store) -> None:
        """Show the models as they are now, and what a running prompt waits for."""
        super().show(store)
        self._show_talk()
        self._show_open()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Another model is tried."""
        event.stop()
        self._show_talk()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Type to it."""
        event.stop()
        self.query_one("#words", Input).focus()

    def _show_talk(self) -> None:
        model = self.query_one(ModelChoice).model
        if model is None:
            return
        box = self.query_one("#talk", VerticalScroll)
        box.border_title = _title(model)
        talk = self._talks.setdefault(model.name, Conversation(model.name, model.kind))
        if talk is not self._shown:
            self._shown = talk
            box.query(TurnView).remove()
            self.query_one("#turns").mount_all(TurnView(turn, talk.kind) for turn in talk.turns)
            box.anchor()
        hint, words = self.query_one("#hint", Static), _hint(model, self._host.steering.refusal)
        hint.display = not talk.turns
        if words != self._hint:
            self._hint = words
            hint.update(Content.styled(words, "$foreground-muted"))

    def _show_open(self) -> None:
        if self._open is None:
            return
        talk = self._open[0]
        model = next((model for model in self._models() if model.name == talk.model), None)
        waits_for = f"{model.name}: {load_words(model.load)}" if model is not None and _is_loading(model) else "…"
        if talk is self._shown and self.query(TurnView):
            self.query(TurnView).last().show_turn(waits_for)

    # -- sending -----------------------------------------------------------------------------------------------

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Send what was typed."""
        event.stop()
        text, talk = event.value.strip(), self._shown
        if not text or talk is None:
            return
        if self._open is not None:
            self._refuse(self._open[0])
            return
        event.input.clear()
        read = partial(ask, model=talk.model, kind=talk.kind, messages=talk.messages(text))
        turn = Turn(text, self._clock.now_s())
        talk.turns.append(turn)
        self._open = (talk, turn)
        self._stream = Stream(self._host.steering.prompting, read, self._clock)
        self.query_one("#hint", Static).display = False
        self.query_one("#turns").mount(TurnView(turn, talk.kind))
        self.query_one("#talk").anchor()

    def _refuse(self, talk: Conversation) -> None:
        self.notify(f"{talk.model} still answers; Esc stops it", severity="warning")

    def _take(self) -> None:
        if self._stream is None or self._open is None:
            return
        turn, news = self._open[1], self._stream.take()
        for at_s, item in news:
            turn.take(item, at_s)
        if not self._stream.is_over:
            if news:
                self._show_open()
            return
        turn.close(news[-1][0] if news else self._clock.now_s(), trouble=self._stream.trouble)
        self._end()

    def _end(self) -> None:
        self._show_open()
        if self._open is not None and self._open[0].drop_old_media():
            for view in self.query(TurnView):
                view.show_turn()
        self._stream = self._open = None

    # -- keys --------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is nothing to filter here."""
        return False if action == "filter" else super().check_action(action, parameters)

    def action_back(self) -> None:
        """Stop the prompt that runs; without one, go back."""
        if self._stream is None or self._open is None:
            super().action_back()
            return
        self._stream.stop()
        for at_s, item in self._stream.take():
            self._open[1].take(item, at_s)
        self._open[1].close(self._clock.now_s(), stopped=True)
        self._end()

    def action_save(self) -> None:
        """Save the last image or sound in the folder that the UI was started in."""
        turns = self._shown.turns if self._shown is not None else []
        turn = next((turn for turn in reversed(turns) if turn.media is not None), None)
        if self._shown is None or turn is None or turn.media is None:
            self.notify("there is no image or sound to save", severity="warning")
            return
        path = Path(turn.saved) if turn.saved else free_name(turn.asked, SUFFIXES[self._shown.kind], Path())
        try:
            path.write_bytes(turn.media)
        except OSError as error:
            self.notify(f"{path}: {error.strerror}", severity="error")
            return
        turn.saved = str(path)
        self.notify(f"saved as {path.absolute()}")
        for view in self.query(TurnView):
            view.show_turn()

    def action_anew(self) -> None:
        """Forget the conversation with this model."""
        if self._shown is None:
            return
        if self._open is not None and self._open[0] is self._shown:
            self._refuse(self._shown)
            return
        del self._talks[self._shown.model]
        self._show_talk()

    def action_model(self, by: int) -> None:
        """Choose another model."""
        self.query_one(ModelChoice).move(by)

    def action_scroll(self, pages: int) -> None:
        """Scroll the conversation."""
        box = self.query_one("#talk", VerticalScroll)
        box.scroll_relative(y=pages * box.size.height, animate=False)

    # -- pieces ------------------------------------------------------------------------------------------------

    def _models(self) -> list[ModelView]:
        snapshot = self._host.store.snapshot
        return list(snapshot.models) if snapshot is not None else []


def _is_loading(model: ModelView) -> bool:
    return model.state is ModelState.LOADING


def _title(model: ModelView) -> str:
    place = "" if model.gpu is None else f" on GPU {model.gpu}"
    return f"{model.name} · {model.kind} · {state_word(model)}{place}"


def _hint(model: ModelView, refusal: str | None) -> str:
    if refusal is not None:
        return f"Nothing can be sent: {refusal}."
    makes = {"image": "describe a picture", "audio": "describe a sound"}.get(model.kind, "ask it something")
    words = f"Type below to {makes}; Enter sends it. Up and down choose another model."
    if model.state is ModelState.FAILED:
        return f"{model.name} failed: {model.reason or 'no reason known'}"
    if model.state is not ModelState.READY:
        words += f"\n{model.name} is {model.state}; the first prompt has it loaded and waits for it."
    return words
