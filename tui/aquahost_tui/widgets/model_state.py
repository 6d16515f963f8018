"""How a model stands, in words, a mark and a colour: the same everywhere."""

from __future__ import annotations

from aquahost.messages.snapshot import ModelState, ModelView
from aquahost_tui.widgets.cells import MODEL_TONES, Tone


def is_parked(model: ModelView) -> bool:
    """Whether it takes prompts while its weights are away."""
    return model.state is ModelState.READY and model.stats is not None and bool(model.stats.parked)


def state_word(model: ModelView) -> str:
    """One word: "ready", "parked"."""
    return "parked" if is_parked(model) else str(model.state)


def state_words(model: ModelView) -> str:
    """A word or two: "ready", "parked→host", "ready, pinned"."""
    if model.stats is not None and is_parked(model):
        return f"parked→{model.stats.parked}"
    return f"{model.state}, pinned" if model.pinned and model.state is ModelState.READY else str(model.state)


def state_mark(model: ModelView) -> str:
    """A dot: full where it is on its GPU, dotted where it is parked."""
    if is_parked(model):
        return "◌"
    return "●" if model.state is ModelState.READY else "○"


def state_tone(model: ModelView) -> Tone:
    """The state's colour."""
    if model.stats is not None and is_parked(model):
        return Tone.WARN if model.stats.stuck else Tone.ACCENT
    return MODEL_TONES[model.state]
