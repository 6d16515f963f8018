"""The journal: what happened, in a file that outlives the daemon and may not be there."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aquahost.daemon.event_log import EventLog
from aquahost.daemon.journal import KEPT_FILES, Journal, read_journal
from aquahost.events import Event, EventKind

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


async def some(count: int, first: int = 1, message: str = "happened") -> AsyncIterator[Event]:
    for seq in range(first, first + count):
        yield Event(seq=seq, at="2026-01-01T00:00:00.000Z", kind=EventKind.MODEL_READY, message=message, model="chat")


def journal(path: Path, run: str = "run", **limits: float) -> Journal:
    return Journal(path, run, period_s=0.01, retry_s=0.01, **limits)  # type: ignore[arg-type]


def numbers(path: Path) -> list[tuple[str, int]]:
    return [(event.run, event.seq) for event in read_journal(path)]


async def test_events_of_several_runs_are_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "state" / "events.jsonl"
    assert numbers(path) == []
    await journal(path, "one").run(some(3))
    await journal(path, "two").run(some(2))
    assert numbers(path) == [("one", 1), ("one", 2), ("one", 3), ("two", 1), ("two", 2)]
    modes = [stat.S_IMODE(os.stat(place).st_mode) for place in (path.parent, path)]
    assert modes == [0o700, 0o600]


@hypothesis_settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EventKind), TEXT, st.none() | TEXT), min_size=1, max_size=5))
def test_whatever_is_said_comes_back(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str, str]]
) -> None:
    async def events() -> AsyncIterator[Event]:
        for seq, (kind, message, prompt_id) in enumerate(said, 1):
            yield Event(
                seq=seq, at="2026-01-01T00:00:00.000Z", kind=EventKind(kind), message=message, prompt_id=prompt_id
            )

    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    asyncio.run(journal(path).run(events()))
    assert [(event.kind, event.message, event.prompt_id) for event in read_journal(path)] == said


async def test_it_is_set_aside_as_it_grows_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for first in range(1, 100, 3):
        await journal(path, most_bytes=1000).run(some(3, first, "x" * 100))
    sizes = [os.stat(tmp_path / name).st_size for name in os.listdir(tmp_path)]
    assert len(sizes) == 1 + KEPT_FILES
    assert max(sizes) <= 1000
    kept = [seq for _, seq in numbers(path)]
    assert kept == list(range(kept[0], 100))
    assert kept[0] > 1


async def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    await journal(path).run(some(1))
    with path.open("ab") as file:
        file.write(b'{"run":"x","seq":\n\xff\xfe\n{"kind":"of.the.future","seq":1,"at":"","message":"","run":""}\n')
    await journal(path).run(some(1, 2))
    assert numbers(path) == [("run", 1), ("run", 2)]


async def test_a_full_disk_costs_one_warning_and_nothing_once_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.jsonl"
    path.symlink_to("/dev/full")
    log = EventLog()
    writing = asyncio.create_task(journal(path, most_bytes=1 << 30).run(log.follow(0)))
    with caplog.at_level(logging.INFO, "aquahost.daemon.journal"):
        for _ in range(5):
            log.add(EventKind.MODEL_READY, "ready")
            await asyncio.sleep(0.03)
        (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert "No space left on device" in warning
        path.unlink()
        await asyncio.sleep(0.1)
        log.close()
        await writing
    assert [seq for _, seq in numbers(path)] == [1, 2, 3, 4, 5]
    assert "written again; 0 events are missing" in caplog.text


async def test_half_a_batch_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    await journal(path).run(some(1))
    write, calls = os.write, iter(range(99))

    def fill_up(descriptor: int, data: bytes) -> int:
        if next(calls) == 0:
            return write(descriptor, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aquahost.daemon.journal.os.write", fill_up)
    await journal(path).run(some(1, 2))
    assert numbers(path) == [("run", 1)]
    assert path.read_bytes().endswith(b"\n")


async def test_a_folder_that_cannot_be_written_costs_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    await journal(tmp_path / "file" / "events.jsonl").run(some(3))
    assert "cannot be written" in caplog.text
