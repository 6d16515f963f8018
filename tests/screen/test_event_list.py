"""The overview's events: which are shown."""

from __future__ import annotations

from aquahost.events import Event, EventKind
from aquahost_tui.messages import EventCame
from tui_host import made_app, settle, text_of


async def test_of_single_prompts_only_failures_are_shown() -> None:
    app = made_app()
    async with app.run_test(size=(200, 60)) as pilot:
        await settle(pilot)
        for seq, kind in enumerate((EventKind.PROMPT_FAILED, EventKind.PROMPT_FINISHED), 99):
            message = f"p{seq} {kind.partition('.')[2]}"
            app.on_event_came(EventCame(Event(seq=seq, at="2026-11-25T12:00:30Z", kind=kind, message=message)))
        app.draw()
        await pilot.pause()
        assert "p99 failed" in text_of(app)
        assert "p100 finished" not in text_of(app)
