"""The app's keys that load, unload, park, wake and pin models, wherever one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.binding import Binding, BindingType

from aquahost.messages.snapshot import ModelState, ModelView
from aquahost_tui.screens.dialogs import ModelPicker
from aquahost_tui.steered_app import SteeredApp
from aquahost_tui.steering import UNLOAD_DRAIN_S
from aquahost_tui.widgets.model_state import is_parked, state_word


class ModelKeys(SteeredApp):
    """Acts on the model that one is at, or lets one be picked of those that it makes sense for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "load", "Load", id="app.load", tooltip="Load a model"),
        Binding("u", "unload", "Unload", id="app.unload", tooltip="Unload a model; asks first"),
    ]

    def action_load(self) -> None:
        """Load the model one is at, or one of those that are not loaded."""
        self._with_model(self._load, _is_loadable, "Load which model?", "all models are loaded, or load already")

    def action_unload(self) -> None:
        """Unload the model one is at, or one of those that are loaded."""
        self._with_model(self._unload, _is_unloadable, "Unload which model?", "no model is loaded")

    def action_park(self) -> None:
        """Park the model one is at, or one of those that can be parked."""
        self._with_model(
            lambda model: self.steer(lambda: self.steering.park(model.name)),
            _is_parkable, "Park which model?", "no model is ready, neither parked nor pinned",
        )  # fmt: skip

    def action_wake(self) -> None:
        """Wake the model one is at, or one of those that are parked."""
        self._with_model(
            lambda model: self.steer(lambda: self.steering.wake(model.name)),
            is_parked, "Wake which model?", "no model is parked",
        )  # fmt: skip

    def action_pin(self) -> None:
        """Pin the model one is at, or let it be parked again where it is pinned."""
        self._with_model(
            lambda model: self.steer(lambda: self.steering.pin(model.name, pinned=not model.pinned)),
            lambda _: True, "Pin or unpin which model?", "there are no models",
        )  # fmt: skip

    def _load(self, model: ModelView) -> None:
        if _is_loadable(model):
            self.steer(lambda: self.steering.load(model.name))
        else:
            self.notify(f"{model.name} is {model.state} already", severity="warning")

    def _unload(self, model: ModelView) -> None:
        if _is_unloadable(model):
            self.steer(
                lambda: self.steering.unload(model.name), question=f"Unload {model.name}?", detail=_unload_detail(model)
            )
        else:
            words = "not loaded" if model.state is ModelState.UNLOADED else str(model.state)
            self.notify(f"{model.name} is {words}", severity="warning")

    def _with_model(
        self, deed: Callable[[ModelView], None], fits: Callable[[ModelView], bool], title: str, none: str
    ) -> None:
        """Do it to the chosen model whatever its state; where there is none, to a picked one of those that fit."""
        if self.steering.refusal is not None:
            self.notify(self.steering.refusal, severity="warning")
            return
        if self.store.trouble is not None:
            self.notify(self.store.trouble, title="no connection", severity="warning")
            return
        place = self.place()
        if place is None or self.screen is not place:
            return
        chosen = place.chosen_model()
        if chosen is not None:
            deed(chosen)
            return
        fitting = [model for model in self._models().values() if fits(model)]
        if not fitting:
            self.notify(none, severity="warning")
            return
        words = [(model.name, _picker_words(model)) for model in fitting]
        self.push_screen(ModelPicker(title, words), lambda name: self._picked(deed, name))

    def _picked(self, deed: Callable[[ModelView], None], name: str | None) -> None:
        # Time has passed since it was offered: it may stand otherwise now.
        model = self._models().get(name) if name is not None else None
        if model is not None:
            deed(model)

    def _models(self) -> dict[str, ModelView]:
        snapshot = self.store.snapshot
        return {model.name: model for model in snapshot.models} if snapshot is not None else {}


def _is_loadable(model: ModelView) -> bool:
    return model.state in (ModelState.UNLOADED, ModelState.FAILED, ModelState.DRAINING)


def _is_unloadable(model: ModelView) -> bool:
    return model.state in (ModelState.READY, ModelState.LOADING)


def _is_parkable(model: ModelView) -> bool:
    return model.state is ModelState.READY and not is_parked(model) and not model.pinned


def _picker_words(model: ModelView) -> str:
    place = "" if model.gpu is None or is_parked(model) else f" on GPU {model.gpu}"
    prompts = f", {model.queue} prompts" if model.queue else ""
    return f"{model.kind}, {state_word(model)}{place}{prompts}"


def _unload_detail(model: ModelView) -> str:
    if not model.queue:
        return "It has no prompts now. Its memory becomes free; l loads it again."
    prompts = "Its live prompt has" if model.queue == 1 else f"Its {model.queue} live prompts have"
    return f"{prompts} {UNLOAD_DRAIN_S:.0f} s to end; what goes on longer is ended."
