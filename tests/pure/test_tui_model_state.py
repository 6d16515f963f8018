"""How a model's state is told: in words, a mark and a colour that agree."""

from __future__ import annotations

import msgspec
import pytest

from aquahost.messages.snapshot import ModelState, ModelView
from aquahost_tui.widgets.cells import Tone
from aquahost_tui.widgets.model_state import is_parked, state_mark, state_tone, state_word, state_words
from made_host import snapshot


def model(name: str, **changes: object) -> ModelView:
    found = next(one for one in snapshot(27).models if one.name == name)
    return msgspec.structs.replace(found, **changes)


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (model("chat"), (False, "ready", "ready", "●", Tone.GOOD)),
        (model("sing"), (False, "ready", "ready, pinned", "●", Tone.GOOD)),
        (model("mistral"), (True, "parked", "parked→host", "◌", Tone.ACCENT)),
        (model("mistral", state=ModelState.DRAINING), (False, "draining", "draining", "○", Tone.WARN)),
        (model("spare"), (False, "failed", "failed", "○", Tone.BAD)),
    ],
    ids=["ready", "pinned", "parked", "draining while parked", "failed"],
)
def test_what_is_said_of_a_state_agrees(view: ModelView, said: tuple[bool, str, str, str, Tone]) -> None:
    assert (is_parked(view), state_word(view), state_words(view), state_mark(view), state_tone(view)) == said


def test_a_parked_model_that_is_stuck_is_a_warning() -> None:
    stats = model("mistral").stats
    assert stats is not None
    assert state_tone(model("mistral", stats=msgspec.structs.replace(stats, stuck=True))) is Tone.WARN
