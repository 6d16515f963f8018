"""The models to choose from, each with how it stands."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from aquahost.messages.snapshot import ModelState, ModelView
from aquahost_tui.store.store import Store
from aquahost_tui.widgets.loading import load_share
from aquahost_tui.widgets.model_state import state_mark, state_tone, state_word
from aquahost_tui.widgets.table_rows import fit

_KIND_WIDTH = 5


class ModelChoice(OptionList):
    """A line for each model; the highlighted one is the one that is tried."""

    DEFAULT_CSS = """
    ModelChoice, ModelChoice:focus { height: 1fr; border: none; padding: 0; background: transparent; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._models: list[ModelView] = []
        self._shown: list[str] = []

    @property
    def model(self) -> ModelView | None:
        """The highlighted one."""
        at = self.highlighted
        return self._models[at] if at is not None and at < len(self._models) else None

    def show(self, store: Store) -> None:
        """Show how they stand now; the highlight stays where it is."""
        models = list(store.snapshot.models) if store.snapshot is not None else []
        names = [model.name for model in models]
        is_same = names == [model.name for model in self._models]
        self._models = models
        if not is_same:
            at = self.highlighted or _first_ready(models)
            self.clear_options()
            self.add_options(Option("") for _ in models)
            self._shown = [""] * len(models)
            self.highlighted = min(at, len(models) - 1) if models else None
        for at, model in enumerate(models):
            line = _line(model, self.content_size.width)
            if line.markup != self._shown[at]:
                self._shown[at] = line.markup
                self.replace_option_prompt_at_index(at, line)

    def move(self, by: int) -> None:
        """Highlight another one, as seen from this one."""
        if self._models:
            self.highlighted = ((self.highlighted or 0) + by) % len(self._models)


def _first_ready(models: list[ModelView]) -> int:
    return next((at for at, model in enumerate(models) if model.state is ModelState.READY), 0)


def _word(model: ModelView) -> str:
    """Its state in one word; while it loads, how much of it is there."""
    share = load_share(model.load) if model.state is ModelState.LOADING else None
    return state_word(model) if share is None else f"{share:.0%}"


def _line(model: ModelView, width: int) -> Content:
    tone = state_tone(model).variable
    room = max(width - 2 - _KIND_WIDTH - 2 - 8, 4)
    return Content.assemble(
        (f"{state_mark(model)} ", tone),
        fit(model.name, room),
        (f" {model.kind:<{_KIND_WIDTH}} ", "$foreground-muted"),
        (_word(model), tone),
    )
