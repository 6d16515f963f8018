"""What nobody looks at does not look for news either."""

from __future__ import annotations

import pytest

from aquahost_tui.app import AquahostApp
from aquahost_tui.screens.logs import LogsScreen
from aquahost_tui.screens.try_model import TryScreen
from aquahost_tui.widgets.prompt_output import PromptOutput
from scripted_client import ScriptedClient
from tui_host import RecordingSteering, made_app, settle, until_shown


@pytest.mark.parametrize(
    ("place", "part"),
    [("logs", LogsScreen), ("try", TryScreen), ("prompts", PromptOutput)],
    ids=["logs", "try", "prompts"],
)
async def test_frames_stop_where_nobody_looks(place: str, part: type, monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[object] = []
    monkeypatch.setattr(part, "_take", lambda self: frames.append(self))
    app: AquahostApp = made_app(steering=RecordingSteering(ScriptedClient(hangs=True)))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.action_go(place)
        await until_shown(pilot, lambda: len(frames) > 1)
        await pilot.press("f1")
        seen = len(frames)
        await until_shown(pilot, lambda: len(frames) > seen)  # the help leaves the rest in view
        await pilot.press("escape")
        await pilot.pause()
        app.action_go("overview")
        await pilot.pause(0.05)
        seen = len(frames)
        await pilot.pause(0.35)
        assert len(frames) <= seen + 1  # one may have been on its way
        app.action_go(place)
        await until_shown(pilot, lambda: len(frames) > seen + 2)
