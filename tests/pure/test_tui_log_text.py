"""A log's text as whole lines, and what is kept of a line that has not ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from aquahost.clock import VirtualClock
from aquahost_tui.log_text import MOST_REST, LogText
from tui_host import RecordingSteering


class PiecesClient:
    """A log that comes in pieces."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._pieces = pieces

    def logs(self, model: str | None, *, lines: int, follow: bool) -> Iterator[str]:
        yield from self._pieces


def lines_of(*pieces: str) -> list[str]:
    """All lines, taken as slowly or as fast as they come."""
    log = LogText(RecordingSteering(PiecesClient(pieces)), None, VirtualClock())
    lines: list[str] = []
    for _ in range(500):
        lines += log.take()
        assert len(log._rest) <= MOST_REST
        if log.is_over:
            return lines
        threading.Event().wait(0.01)
    raise AssertionError("the log does not end")


def test_lines_are_put_together() -> None:
    assert lines_of("one\ntw", "o\nthree") == ["one", "two", "three"]


def test_a_line_end_of_two_characters_may_come_in_two_pieces() -> None:
    assert lines_of("one\r", "\n", "two\r\n") == ["one", "two"]


def test_of_a_progress_bar_only_the_last_is_kept() -> None:
    assert lines_of(*(f"\r{percent}% " + "█" * 500 for percent in range(100)), "\r100%\n") == ["100%"]
    assert lines_of(*(f"{percent}%\r" for percent in range(100)), "done") == ["done"]


def test_of_a_line_that_never_ends_the_end_is_kept() -> None:
    (line,) = lines_of("begin" + "x" * 3 * MOST_REST, "end")
    assert line.endswith("xend")
    assert "begin" not in line
