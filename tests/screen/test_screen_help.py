"""The help, the command palette, and the words of a screen that has nothing or too little room to show."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest
from textual.binding import Binding
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Static

import aquahost_tui
from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import LeaseState, ModelState
from aquahost_tui.help_text import LEASE_MEANINGS, MODEL_MEANINGS, PROMPT_MEANINGS
from aquahost_tui.messages import FeedBroke, FeedFailed
from aquahost_tui.palette import commands
from aquahost_tui.places import PLACES
from aquahost_tui.screens.help import HelpScreen
from aquahost_tui.screens.too_small import TooSmallScreen
from aquahost_tui.screens.top_screen import TopScreen
from aquahost_tui.steering import Steering
from aquahost_tui.widgets.absence import Absence
from aquahost_tui.widgets.help_column import HelpColumn
from tui_host import RecordingSteering, made_app, settle, until_shown


def columns(pilot: Pilot[Any]) -> str:
    return "\n".join(column.render().plain for column in pilot.app.screen.query(HelpColumn))


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
async def test_the_help_lists_every_key_that_works_there(place: Any) -> None:
    app = made_app()
    async with app.run_test(size=(200, 60)) as pilot:
        await settle(pilot)
        if place is not PLACES[0]:
            await pilot.press(place.key)
            await pilot.pause()
        here = app.screen
        assert isinstance(here, TopScreen)
        bindings = [active.binding for active in here.active_bindings.values()]
        app.action_help()
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        text = " ".join(columns(pilot).split())
        assert f"on {place.name}" in text
        for binding in bindings:
            if binding.id is not None:
                assert isinstance(binding, Binding)
                assert binding.tooltip, f"{binding.id} has no tooltip"
                assert " ".join(binding.tooltip.split()) in text or binding.tooltip.split()[0] in text
        assert "^p" in text, "the palette's key"
        await pilot.press("escape")
        assert app.screen is here


async def test_help_opens_and_closes_with_its_key_and_scrolls() -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpScreen)
        scroll = app.screen.query_one("#help-scroll")
        await pilot.press("down", "pagedown")
        await pilot.pause()
        assert scroll.scroll_offset.y == 11
        await pilot.press("up")
        await pilot.pause()
        assert scroll.scroll_offset.y == 10
        await pilot.press("question_mark")
        assert isinstance(app.screen, TopScreen)


def test_every_state_has_a_meaning() -> None:
    assert set(PROMPT_MEANINGS) == set(PromptState)
    assert set(MODEL_MEANINGS) == set(ModelState)
    assert set(LEASE_MEANINGS) == set(LeaseState)


async def test_the_palette_goes_to_places_and_steers() -> None:
    steering = RecordingSteering()
    app = made_app(steering=steering)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        for typed, done in (
            ("go to links", lambda: app.place() is not None and app.place().NAME == "links"),  # type: ignore[union-attr]
            ("pause", lambda: app.store.paused),
        ):
            await pilot.press("ctrl+p")
            await until_shown(pilot, lambda: isinstance(app.screen, CommandPalette))
            await pilot.press(*typed)
            await pilot.pause(0.3)
            await pilot.press("enter", "enter")
            await until_shown(pilot, done)


async def test_where_nothing_can_be_steered_the_palette_offers_no_steering() -> None:
    for steering, offered in ((Steering(None, readonly=True), False), (RecordingSteering(), True)):
        app = made_app(steering=steering)
        titles = [command.title for command in commands(app)]
        assert ("Load a model" in titles) is offered
        assert [f"Go to {place.name}" for place in PLACES] == titles[: len(PLACES)]


async def test_an_empty_screen_says_what_it_waits_for_and_what_to_do() -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        absence = app.screen.query_one(Absence)
        assert absence.region.size == app.screen.query_one("#body").size
        app.on_feed_broke(FeedBroke("no daemon answers at /run/x.sock; start one with: aquahost up -d"))
        app.draw()
        await pilot.pause()
        shown = str(absence.visual).splitlines() if hasattr(absence, "visual") else []
        assert "start one with: aquahost up -d" in "\n".join(shown)
        assert "no daemon" in app.export_screenshot().replace("&#160;", " ")
        assert not app.screen.query("Toast")
        await settle(pilot)
        assert not absence.display


async def test_a_terminal_that_is_too_small_says_so_until_it_is_enlarged() -> None:
    app = made_app()
    async with app.run_test(size=(50, 10)) as pilot:
        await settle(pilot)
        assert isinstance(app.screen, TooSmallScreen)
        assert "50×10; needs 64×16" in str(app.screen.query_one(Static).visual)
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        assert "60×20" in str(app.screen.query_one(Static).visual)
        await pilot.resize_terminal(64, 16)
        await until_shown(pilot, lambda: isinstance(app.screen, TopScreen))
        await pilot.resize_terminal(20, 5)
        await until_shown(pilot, lambda: isinstance(app.screen, TooSmallScreen))
        await pilot.press("q")
    assert app.return_code == 0


async def test_enlarging_it_below_something_else_is_noticed_once_that_is_gone() -> None:
    app = made_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.resize_terminal(50, 10)
        await until_shown(pilot, lambda: isinstance(app.screen, TooSmallScreen))
        await pilot.press("ctrl+p")
        await until_shown(pilot, lambda: isinstance(app.screen, CommandPalette))
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        await pilot.press("escape")
        await until_shown(pilot, lambda: isinstance(app.screen, TopScreen))


@pytest.mark.parametrize("key", ["question_mark", "f1"])
async def test_both_keys_of_the_help_show_it(key: str) -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press(key)
        await until_shown(pilot, lambda: isinstance(app.screen, HelpScreen))


async def test_ctrl_c_leaves() -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("ctrl+c")
    assert app.return_code == 0


async def test_ctrl_c_copies_what_is_selected_instead() -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"chat", "shift+home", "ctrl+c")
        await pilot.pause()
        assert app.clipboard == "chat"
        assert app.is_running


async def test_a_feed_that_failed_ends_the_app_with_the_reason() -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.post_message(FeedFailed("cannot write x: No space left on device"))
        await pilot.pause()
    assert app.failure == "cannot write x: No space left on device"
    assert app.return_code == 1


def test_every_binding_of_ours_has_an_id_and_a_tooltip() -> None:
    found: list[Any] = []
    for module in pkgutil.walk_packages(aquahost_tui.__path__, "aquahost_tui."):
        for one in vars(importlib.import_module(module.name)).values():
            if isinstance(one, type) and one.__module__ == module.name:
                found += vars(one).get("BINDINGS", [])
    assert len(found) > 50
    assert [binding for binding in found if not (binding.id and binding.tooltip)] == []
    # One key may have several meanings by place; an id has one.
    ids = {binding.id: binding.action for binding in found}
    assert all(ids[binding.id] == binding.action for binding in found)
