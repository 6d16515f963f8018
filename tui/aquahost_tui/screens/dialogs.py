"""Small screens that ask before something is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Label, OptionList
from textual.widgets.option_list import Option


class ConfirmDialog(ModalScreen[bool]):
    """Asks whether to do something that cannot be undone; Esc and n say no, y says yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="confirm.yes", tooltip="Do it"),
        Binding("n,escape", "answer(False)", "No", id="confirm.no", tooltip="Leave it"),
        Binding(
            "left,right", "other", "Other button", id="confirm.other", show=False, tooltip="Go to the other button"
        ),
    ]

    def __init__(self, question: str, *, detail: str = "", yes: str = "Yes") -> None:
        super().__init__()
        self._question = question
        self._detail = detail
        self._yes = yes

    def compose(self) -> ComposeResult:
        """The question and two buttons."""
        with Vertical(classes="dialog"):
            yield Label(Content(self._question), classes="question")
            if self._detail:
                yield Label(Content(self._detail), classes="detail")
            with Horizontal(classes="buttons"):
                yield Button(f"{self._yes} (y)", variant="error", id="yes")
                yield Button("No (n)", id="no")

    def on_mount(self) -> None:
        """Enter alone is no yes."""
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answer with a click."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        """Answer with a key."""
        self.dismiss(yes)

    def action_other(self) -> None:
        """Move the focus."""
        self.focus_next()


class ModelPicker(ModalScreen[str | None]):
    """Lets one of some models be chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", id="picker.close", tooltip="Choose none"),
    ]

    def __init__(self, title: str, models: Sequence[tuple[str, str]]) -> None:
        """`models`: names, each with a few words about it."""
        super().__init__()
        self._title = title
        self._models = models

    def compose(self) -> ComposeResult:
        """A title and the list."""
        with Vertical(classes="dialog"):
            yield Label(Content(self._title), classes="question")
            yield OptionList(
                *(
                    Option(Content.assemble((name, "bold"), (f"  {words}", "$foreground-muted")), id=str(at))
                    for at, (name, words) in enumerate(self._models)
                )
            )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """That one."""
        self.dismiss(self._models[event.option_index][0])
