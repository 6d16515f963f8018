"""The logs screen: events, logs that are followed, and scrolling back in them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from textual.content import Content
from textual.pilot import Pilot

from aquahost.errors import UnreachableError
from aquahost.events import Event, EventKind
from aquahost_tui.log_text import plain_line
from aquahost_tui.messages import EventCame
from aquahost_tui.screens.logs import LogsScreen
from aquahost_tui.steering import Steering
from aquahost_tui.widgets.scrollback import MOST_LINES, Scrollback
from aquahost_tui.widgets.source_bar import SourceBar
from tui_host import RecordingSteering, made_app, settle, until_shown


class LogClient:
    """A daemon that has logs."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.more = threading.Event()
        self.is_cut = threading.Event()
        self.trouble = ""

    def logs(self, model: str | None, *, lines: int, follow: bool) -> Iterator[str]:
        assert follow
        self.asked.append(model)
        if self.trouble:
            raise UnreachableError(self.trouble)
        self.is_cut.clear()
        yield f"2026-11-25 12:00:00,123 INFO    aquahost: this is {model or 'the daemon'}\n2026-11-25 12:00:01,500 ERR"
        yield "OR   aquahost: \x1b[31mno luck\x1b[0m\n"
        while not self.is_cut.is_set():
            if self.more.wait(0.01):
                self.more.clear()
                yield "one more\n"

    def interrupt(self) -> None:
        self.is_cut.set()


async def at_logs(pilot: Pilot[Any]) -> Scrollback:
    await settle(pilot)
    await pilot.press("7")
    await pilot.pause()
    assert isinstance(pilot.app.screen, LogsScreen)
    return pilot.app.screen.query_one(Scrollback)


def source(pilot: Pilot[Any]) -> str:
    return pilot.app.screen.query_one(SourceBar).source


async def test_events_come_first_and_new_ones_are_added() -> None:
    app = made_app()
    async with app.run_test(size=(120, 40)) as pilot:
        lines = await at_logs(pilot)
        assert source(pilot) == "events"
        assert lines.rows[0] == "12:00:00 daemon.started     aquahost 0.1.0 on 8 emulated GPUs"
        assert lines.has_focus
        count = len(lines.rows)
        new = Event(seq=99, at="2026-11-25T12:01:00Z", kind=EventKind.PROMPT_FINISHED, message="prompt p1 is done")
        app.on_event_came(EventCame(new))
        app.draw()
        assert len(lines.rows) == count + 1
        assert lines.rows[-1] == "12:01:00 prompt.finished    prompt p1 is done"


async def test_a_filter_keeps_lines_with_all_its_words() -> None:
    app = made_app()
    async with app.run_test(size=(120, 40)) as pilot:
        lines = await at_logs(pilot)
        await pilot.press("slash", *"lease !recall", "enter")
        assert len(lines.rows) == 3
        assert all("lease." in row for row in lines.rows)
        assert lines.has_focus
        await pilot.press("slash", "escape")
        assert len(lines.rows) == 8


async def test_logs_are_followed_and_left() -> None:
    client = LogClient()
    app = made_app(steering=RecordingSteering(client))
    async with app.run_test(size=(120, 40)) as pilot:
        lines = await at_logs(pilot)
        await pilot.press("right_square_bracket")
        assert source(pilot) == "daemon"
        await until_shown(pilot, lambda: len(lines.rows) == 2)
        assert lines.rows == ["12:00:00 INFO    aquahost: this is the daemon", "12:00:01 ERROR   aquahost: no luck"]
        client.more.set()
        await until_shown(pilot, lambda: lines.rows[-1] == "one more")
        await pilot.press("right_square_bracket")
        assert source(pilot) == "chat"
        await until_shown(pilot, lambda: len(lines.rows) == 2)
        assert "this is chat" in lines.rows[0]
        await pilot.press("left_square_bracket", "left_square_bracket", "left_square_bracket")
        assert source(pilot) == "spare", "the last one stands before the first"
        await until_shown(pilot, lambda: "this is spare" in "".join(lines.rows))
        await pilot.press("1")
        await until_shown(pilot, client.is_cut.is_set)
        asked = len(client.asked)
        await pilot.press("7")
        await until_shown(pilot, lambda: len(client.asked) == asked + 1)
    await until_shown(pilot, client.is_cut.is_set)
    assert client.asked[0] is None


async def test_a_click_chooses_a_source() -> None:
    client = LogClient()
    app = made_app(steering=RecordingSteering(client))
    async with app.run_test(size=(120, 40)) as pilot:
        await at_logs(pilot)
        await pilot.click(SourceBar, offset=(10, 0))
        assert source(pilot) == "daemon"


async def test_a_log_that_breaks_off_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aquahost_tui.screens.logs._RETRY_S", 0.05)
    client = LogClient()
    client.trouble = "no daemon answers"
    app = made_app(steering=RecordingSteering(client))
    async with app.run_test(size=(120, 40)) as pilot:
        lines = await at_logs(pilot)
        await pilot.press("right_square_bracket")
        await until_shown(pilot, lambda: lines.rows == ["— no daemon answers; trying again —"])
        client.trouble = ""
        await until_shown(pilot, lambda: "this is the daemon" in "".join(lines.rows))


async def test_the_last_lines_of_a_log_that_ends_stay_until_new_ones_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aquahost_tui.screens.logs._RETRY_S", 0.05)
    client = LogClient()
    app = made_app(steering=RecordingSteering(client))
    async with app.run_test(size=(120, 40)) as pilot:
        lines = await at_logs(pilot)
        await pilot.press("right_square_bracket")
        await until_shown(pilot, lambda: len(lines.rows) == 2)
        client.trouble = "no daemon answers"
        client.is_cut.set()
        await until_shown(pilot, lambda: len(client.asked) > 4)
        assert "no luck" in lines.rows[1]
        assert lines.rows[2:] == ["— the log has ended; trying again —", "— no daemon answers; trying again —"]
        await pilot.press("1", "7")
        asked = len(client.asked)
        await until_shown(pilot, lambda: len(client.asked) > asked)
        assert "no luck" in lines.rows[1]
        client.trouble = ""
        await until_shown(pilot, lambda: len(lines.rows) == 2)


async def test_help_over_a_log_leaves_it_as_it_is() -> None:
    client = LogClient()
    app = made_app(steering=RecordingSteering(client))
    async with app.run_test(size=(80, 24)) as pilot:
        lines = await at_logs(pilot)
        await pilot.press("right_square_bracket")
        await until_shown(pilot, lambda: len(lines.rows) == 2)
        lines.add(Content(f"line {number}") for number in range(100))
        await pilot.pause()
        await pilot.press("home")
        await pilot.pause()
        await pilot.press("question_mark")
        client.more.set()
        await until_shown(pilot, lambda: lines.rows[-1] == "one more")
        await pilot.press("escape")
        await pilot.pause(0.1)
        assert lines.scroll_offset.y == 0
        assert not lines.follows
        assert client.asked == [None]


async def test_a_recording_has_only_events() -> None:
    app = made_app(steering=Steering(None, readonly=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await at_logs(pilot)
        await pilot.press("right_square_bracket")
        assert source(pilot) == "events"


async def test_scrolling_back_ends_following_until_the_end_is_reached() -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        lines = await at_logs(pilot)
        lines.begin("")
        lines.add(Content(f"line {number}") for number in range(100))
        await pilot.pause()
        assert lines.follows
        assert lines.scroll_offset.y == lines.max_scroll_y > 0
        await pilot.press("pageup", "up")
        await pilot.pause()
        held = lines.scroll_offset.y
        assert not lines.follows
        lines.add([Content("one more")])
        await pilot.pause(0.15)
        assert lines.scroll_offset.y == held
        assert "scrolled back" in str(pilot.app.screen.query_one("#lines-box").border_subtitle)
        await pilot.press("end")
        await pilot.pause()
        lines.add([Content("the last")])
        await pilot.pause()
        assert lines.follows
        assert lines.scroll_offset.y == lines.max_scroll_y


async def test_what_is_forgotten_above_moves_nothing_in_view() -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        lines = await at_logs(pilot)
        lines.begin("")
        lines.add(Content(f"line {number}") for number in range(MOST_LINES))
        await pilot.pause()
        await pilot.press("pageup")
        await pilot.pause()
        before = lines.rows[lines.scroll_offset.y]
        lines.add(Content(f"new {number}") for number in range(50))
        await pilot.pause()
        assert lines.rows[lines.scroll_offset.y] == before
        assert len(lines.rows) == MOST_LINES


async def test_long_lines_are_broken_to_the_width() -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        lines = await at_logs(pilot)
        lines.begin("")
        lines.add([Content("word " * 40)])
        assert len(lines.rows) == 3
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        assert len(lines.rows) == 2


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("10%\r50%\r100%", "100%"),
        ("done\r", "done"),
        ("a\tb", "a       b"),
        ("bell\x07", "bell\ufffd"),
        ("\x1b]0;title\x07x", "x"),
    ],
)
def test_lines_are_shown_as_a_terminal_would_leave_them(written: str, shown: str) -> None:
    assert plain_line(written) == shown
