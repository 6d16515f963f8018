"""The overview, driven by keys and mouse over a made-up host."""

from __future__ import annotations

import threading
from typing import cast

import msgspec
import pytest

from aquahost_tui.app import AquahostApp
from aquahost_tui.messages import EventCame, FeedBroke, FeedEnded, SnapshotCame, Steered
from aquahost_tui.widgets.filter_bar import FilterBar
from aquahost_tui.widgets.gpu_card import GpuCard
from aquahost_tui.widgets.lease_map import LeaseMap
from aquahost_tui.widgets.queue_table import QueueTable
from made_host import events, snapshot
from tui_host import RecordingSteering, StillFeed, made_app, settle, text_of, until_shown


def queue_of(app: AquahostApp) -> QueueTable:
    return app.screen.query_one(QueueTable)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (240, 70)])
async def test_the_most_important_is_shown_at_any_size(size: tuple[int, int]) -> None:
    app = made_app()
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        text = text_of(app)
        assert len(app.screen.query(GpuCard)) == 8
        for words in (
            "EMULATED",
            "● chat ready",
            "prompts 96: 24 run 72 paged",
            "paged to GPU",
            "GPU 2 wants",
            "36G/80G",
            "16G←2,4,6",
        ):
            assert words in text, words
        assert app.screen.query_one(LeaseMap).display is True


async def test_gpus_are_lines_or_boxes_as_there_is_room() -> None:
    app = made_app()
    async with app.run_test(size=(200, 60)) as pilot:
        await settle(pilot)
        assert "GPU 7 · Emulated H100" in text_of(app)
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        assert "GPU 7 · Emulated H100" not in text_of(app)
        assert [card.size.height for card in app.screen.query(GpuCard)] == [1] * 8


async def test_the_cursor_stays_with_its_prompt_while_rows_come_and_go() -> None:
    feed, app = StillFeed(8), made_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot, feed)
        table = queue_of(app)
        for key in ("down", "j", "down", "k", "pagedown", "pageup", "end", "home", "down"):
            await pilot.press(key)
        row = table.row
        assert row is not None
        chosen = row.view.id
        await settle(pilot, StillFeed(27))
        assert table.row is not None
        assert table.row.view.id == chosen
        await settle(pilot, StillFeed(70))  # all have ended
        assert table.row is None
        await pilot.press("down", "enter", "end")
        assert "no prompts; send one with t" in text_of(app)


async def test_sorting_by_keys_and_by_a_click_on_a_title() -> None:
    app = made_app()
    async with app.run_test(size=(200, 60)) as pilot:
        await settle(pilot)
        table = queue_of(app)
        assert table.sorted_by == ("AGE", True)
        await pilot.press("full_stop")
        after = table.sorted_by
        assert after != ("AGE", True)
        await pilot.press("comma")
        assert table.sorted_by == ("AGE", False)
        await pilot.press("o")
        assert table.sorted_by == ("AGE", True)
        await pilot.click(QueueTable, offset=(2, 0))
        assert table.sorted_by == ("PROMPT", False)
        ids = [row.view.id for row in table.rows]
        assert ids == sorted(ids)
        await pilot.click(QueueTable, offset=(2, 0))
        assert table.sorted_by == ("PROMPT", True)
        await pilot.click(QueueTable, offset=(2, 5))
        assert table.row is table.rows[table.scroll_offset.y + 4]


async def test_a_filter_is_applied_as_one_types_kept_by_enter_and_dropped_by_escape() -> None:
    app = made_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        table = queue_of(app)
        await pilot.press("slash", *"paint")
        await pilot.pause()
        assert {row.view.model for row in table.rows} == {"paint"}
        await pilot.press("enter")
        assert app.focused is table
        assert len(table.rows) == 4
        await pilot.press("slash", *" nobody", "enter")
        assert "nothing matches “paint nobody”" in text_of(app)
        await pilot.press("escape")
        await pilot.pause()
        assert len(table.rows) == 96
        assert app.screen.query_one(FilterBar).has_class("-open") is False
        await pilot.press("slash", *"q1")  # letters and digits are typed, not obeyed
        assert app.is_running
        await pilot.press("escape")
        assert app.focused is table


async def test_pausing_holds_the_feed_and_says_so() -> None:
    feed = StillFeed()
    app = made_app(feed)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot, feed)
        await pilot.press("p")
        assert feed.paused == [True]
        assert "PAUSED" in text_of(app)
        await pilot.press("p")
        assert feed.paused == [True, False]
        assert "PAUSED" not in text_of(app)


async def test_a_lost_daemon_is_told_and_the_last_picture_stays() -> None:
    app = made_app()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await settle(pilot)
        app.post_message(FeedBroke("the daemon closed the connection; look into: aquahost logs"))
        await until_shown(pilot, lambda: "reconnecting" in text_of(app))
        assert "the daemon closed the connection" in text_of(app)
        assert "● chat ready" in text_of(app)
        await settle(pilot)
        assert "reconnecting" not in text_of(app)


async def test_the_events_of_a_daemon_that_was_started_anew_are_kept() -> None:
    app = made_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.post_message(SnapshotCame(msgspec.structs.replace(snapshot(1), run_id="another"), 50.0))
        app.post_message(EventCame(events(1)[0]))
        await until_shown(pilot, lambda: [event.seq for event in app.store.events] == [1])


async def test_one_can_leave_while_something_slow_is_done() -> None:
    app, done = made_app(), threading.Event()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.steer(lambda: str(done.wait(60)))
        await pilot.press("q")
        await until_shown(pilot, lambda: not app.is_running)
    assert any(thread.name == "steering" and thread.daemon for thread in threading.enumerate())
    done.set()


async def test_the_driver_is_named_and_what_comes_from_outside_is_no_markup() -> None:
    app = made_app(StillFeed(title="replay of [bold]x[/].jsonl"))
    async with app.run_test(size=(200, 60)) as pilot:
        await settle(pilot)
        taken = snapshot(27)
        gpus = [msgspec.structs.replace(taken.gpus[0], name="H100 [red]80G"), *taken.gpus[1:]]
        app.store.take(msgspec.structs.replace(taken, driver="cuda", gpus=gpus), 20.0)
        app.draw()
        await pilot.pause()
        text = text_of(app)
        assert "driver cuda" in text
        assert "EMULATED" not in text
        assert "replay of [bold]x[/].jsonl" in text
        assert "GPU 0 · H100 [red]80G" in text


async def test_the_end_of_a_recording_is_told() -> None:
    app = made_app(StillFeed(title="replay of burst.jsonl"))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await settle(pilot)
        assert "replay of burst.jsonl" in text_of(app)
        app.post_message(FeedEnded("the recording has ended"))
        await until_shown(pilot, lambda: "the recording has ended" in text_of(app))


async def test_a_lost_gpu_and_a_host_of_one() -> None:
    app = made_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        taken = snapshot(27)
        lost = msgspec.structs.replace(taken.gpus[0], lost="CUDA_ERROR_ECC_UNCORRECTABLE")
        app.store.take(msgspec.structs.replace(taken, gpus=[lost], leases=[], flows=[]), 1.0)
        app.draw()
        await pilot.pause()
        assert "LOST CUDA_ERROR_ECC_UNCORRECTABLE" in text_of(app)
        assert len(app.screen.query(GpuCard)) == 1


async def test_quitting() -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("q")
        await until_shown(pilot, lambda: not app.is_running)
    assert cast(int, app.return_code) == 0


async def test_what_is_told_is_text_and_no_markup() -> None:
    app = made_app()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await settle(pilot)
        app.post_message(Steered("cannot [/foo] [link='x']bar[/] \x1b[2J", failed=True))
        await until_shown(pilot, lambda: "cannot [/foo] [link='x']bar[/] �[2J" in text_of(app))


async def test_one_sees_that_one_only_watches() -> None:
    app = made_app(steering=RecordingSteering(readonly=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "read only" in text_of(app)
