"""The screen of models, and the keys that act on models from anywhere."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList

from aquahost.messages.snapshot import ModelView
from aquahost_tui.app import AquahostApp
from aquahost_tui.screens.dialogs import ConfirmDialog, ModelPicker
from aquahost_tui.screens.models import ModelsScreen
from aquahost_tui.widgets.model_table import ModelTable
from tui_host import RecordingSteering, StillFeed, made_app, settle, text_of, until_shown

ROWS = ["chat", "coder", "mistral", "paint", "sing", "spare"]


async def at_model(pilot: Pilot[Any], name: str, feed: StillFeed | None = None) -> None:
    """Go to the models, and there to one of them."""
    await settle(pilot, feed)
    await pilot.press("2", *["j"] * ROWS.index(name))
    await pilot.pause()


def said(app: AquahostApp) -> list[str]:
    """All notifications."""
    return [notice.message for notice in app._notifications]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_every_model_is_shown_with_what_it_holds(size: tuple[int, int]) -> None:
    app = made_app()
    async with app.run_test(size=size) as pilot:
        await at_model(pilot, "chat")
        text = text_of(app)
        assert [row.view.name for row in app.screen.query_one(ModelTable).rows] == ROWS
        for words in ("parked→host", "ready, pinned", "failed", "34G/20G", "96/512", "12 running", "69 paged"):
            assert words in text, words


async def test_the_details_follow_the_cursor_and_tell_a_failure_in_full() -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_model(pilot, "spare")
        text = text_of(app)
        assert "no file model.safetensors in /models/spare" in text
        assert "l loads it" in text
        await pilot.press("g", "j", "j")
        await pilot.pause()
        assert "wakes with its next prompt" in text_of(app)
        await pilot.press("enter")
        assert app.focused is app.screen.query_one("#model-box")


async def test_a_load_is_a_bar_in_the_row_and_in_the_details() -> None:
    app = made_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_model(pilot, "coder", StillFeed(2))
        text = text_of(app)
        assert "█▉·······  21%" in text
        assert "loading weights, 3.0 GiB of 14.0 GiB" in text


@pytest.mark.parametrize(
    ("model", "key", "deed"),
    [
        ("spare", "l", "load spare"),
        ("paint", "z", "park paint"),
        ("mistral", "w", "wake mistral"),
        ("chat", "i", "pin chat"),
        ("sing", "i", "unpin sing"),
    ],
)
async def test_keys_act_on_the_model_under_the_cursor(model: str, key: str, deed: str) -> None:
    steering = RecordingSteering()
    app = made_app(steering=steering)
    async with app.run_test(size=(120, 40)) as pilot:
        await at_model(pilot, model)
        await pilot.press(key)
        await until_shown(pilot, lambda: steering.deeds == [deed])


async def test_unloading_asks_and_says_how_many_prompts_it_ends() -> None:
    steering = RecordingSteering()
    app = made_app(steering=steering)
    async with app.run_test(size=(120, 40)) as pilot:
        await at_model(pilot, "chat")
        await pilot.press("u")
        await pilot.pause()
        assert isinstance(app.screen, ConfirmDialog)
        assert "Its 96 live prompts have 30 s to end" in text_of(app)
        await pilot.press("escape", "u", "n", "u", "y")
        await until_shown(pilot, lambda: steering.deeds == ["unload chat"])


async def test_what_makes_no_sense_is_said_and_not_asked_for() -> None:
    steering = RecordingSteering()
    app = made_app(steering=steering)
    async with app.run_test(size=(120, 40)) as pilot:
        await at_model(pilot, "chat")
        await pilot.press("l")
        assert said(app) == ["chat is ready already"]
        await pilot.press("G", "u")
        assert said(app)[-1] == "spare is failed"
        assert steering.deeds == []


async def test_a_failed_deed_tells_the_reason() -> None:
    app = made_app(steering=RecordingSteering(trouble="paint has prompts"))
    async with app.run_test(size=(120, 40)) as pilot:
        await at_model(pilot, "paint")
        await pilot.press("z")
        await until_shown(pilot, lambda: said(app) == ["paint has prompts"])


async def test_nothing_is_done_where_one_only_watches() -> None:
    steering = RecordingSteering(readonly=True)
    app = made_app(steering=steering)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("l", "u", "2", "z", "w", "i", "l", "u")
        await pilot.pause()
        assert isinstance(app.screen, ModelsScreen)
        assert set(said(app)) == {"started with --readonly; nothing is steered from here"}
        assert steering.deeds == []


async def test_elsewhere_a_model_is_picked_of_those_that_fit() -> None:
    steering = RecordingSteering()
    app = made_app(steering=steering)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("l")
        await pilot.pause()
        assert isinstance(app.screen, ModelPicker)
        assert app.screen.query_one(OptionList).option_count == 1
        await pilot.press("enter")
        await until_shown(pilot, lambda: steering.deeds == ["load spare"])
        await pilot.press("u")
        await pilot.pause()
        assert app.screen.query_one(OptionList).option_count == 5
        await pilot.press("escape", "u", "down", "enter")
        await pilot.pause()
        assert isinstance(app.screen, ConfirmDialog)
        await pilot.press("y")
        await until_shown(pilot, lambda: steering.deeds == ["load spare", "unload coder"])


@pytest.mark.parametrize(("deed", "names"), [("park", ["chat", "coder", "paint"]), ("wake", ["mistral"])])
async def test_only_models_are_offered_that_can_be_parked_or_woken(deed: str, names: list[str]) -> None:
    steering = RecordingSteering()
    app = made_app(steering=steering)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await app.run_action(deed)
        await pilot.pause()
        options = app.screen.query_one(OptionList).options
        assert [str(option.prompt).split()[0] for option in options] == names
        await pilot.press("enter")
        await until_shown(pilot, lambda: steering.deeds == [f"{deed} {names[0]}"])


async def test_picking_where_there_is_nothing_to_pick_says_so() -> None:
    app = made_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("u", "l")
        assert said(app) == ["no model is loaded", "all models are loaded, or load already"]
        await app.run_action("wake")
        await app.run_action("park")
        await pilot.pause()
        assert said(app)[2:] == ["no model is parked", "no model is ready, neither parked nor pinned"]


async def test_the_filter_finds_states_and_kinds() -> None:
    app = made_app()

    def shown() -> list[ModelView]:
        return [row.view for row in app.screen.query_one(ModelTable).rows]

    async with app.run_test(size=(120, 40)) as pilot:
        await at_model(pilot, "chat")
        await pilot.press("slash", *"llm !ready", "enter")
        assert [model.name for model in shown()] == ["mistral", "spare"]
        await pilot.press("escape")
        assert len(shown()) == 6
