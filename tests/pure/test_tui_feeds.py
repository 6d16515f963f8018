"""Where the terminal UI's snapshots come from: a daemon that comes and goes, and recordings."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec
import pytest
from textual.message import Message

from aquahost.client import Client
from aquahost.clock import SystemClock, VirtualClock
from aquahost.errors import UnreachableError
from aquahost.events import Event
from aquahost.messages.snapshot import SCHEMA_VERSION, Snapshot
from aquahost_tui.feeds import live
from aquahost_tui.feeds.live import LiveFeed
from aquahost_tui.feeds.recording import RecordedFeed, Recorder, RecordingError, read_recording
from aquahost_tui.feeds.replay import ReplayFeed
from aquahost_tui.messages import EventCame, FeedBroke, FeedEnded, FeedFailed, SnapshotCame
from made_host import events, snapshot


class ScriptedDaemon:
    """Each connection tells what is next in the script; where that is None, it cannot be made."""

    def __init__(self, *script: list[Snapshot | Event] | None) -> None:
        self.script = list(script)
        self.asked_after: list[int] = []
        self.feed = LiveFeed(lambda: cast(Client, self), VirtualClock(5.0), per_s=4.0)
        self.posted: list[Message] = []

    def __enter__(self) -> ScriptedDaemon:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def snapshot(self) -> Snapshot:
        if self.script[0] is None:
            self.script.pop(0)
            raise UnreachableError("no daemon answers")
        return next(one for one in self.script[0] if isinstance(one, Snapshot))

    def watch(self, per_s: float, after_seq: int) -> Iterator[Snapshot | Event]:
        self.asked_after.append(after_seq)
        yield from self.script.pop(0) or []
        if not self.script:
            self.feed.stop()

    def run(self) -> list[Message]:
        self.feed.run(self.posted.append)
        return self.posted


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "RETRY_S", 0.001)


def kinds(messages: list[Message]) -> list[str]:
    return [type(message).__name__ for message in messages]


def test_a_daemon_is_followed_lost_and_found_again_where_it_was() -> None:
    news: list[Event] = events(8)
    daemon = ScriptedDaemon(None, [snapshot(1), *news[:3]], None, [snapshot(2), *news[3:5]])
    posted = daemon.run()
    assert kinds(posted) == [
        "FeedBroke", "SnapshotCame", *["EventCame"] * 3, "FeedBroke",
        "FeedBroke", "SnapshotCame", *["EventCame"] * 2, "FeedBroke",
    ]  # fmt: skip
    assert cast(FeedBroke, posted[0]).reason == "no daemon answers"
    assert daemon.asked_after == [0, 3]
    assert cast(SnapshotCame, posted[1]).at_s == 5.0


def test_another_daemon_is_asked_for_all_its_events() -> None:
    other = msgspec.structs.replace(snapshot(0), run_id="another")
    daemon = ScriptedDaemon([snapshot(1), *events(8)], [other, *events(0)])
    daemon.run()
    assert daemon.asked_after == [0, 0]


def test_while_paused_only_events_and_what_comes_after_a_break_are_told() -> None:
    daemon = ScriptedDaemon([snapshot(1), snapshot(2)], [snapshot(3), events(0)[0], snapshot(4)])
    daemon.feed.pause(True)
    posted = daemon.run()
    assert kinds(posted) == ["SnapshotCame", "FeedBroke", "SnapshotCame", "EventCame", "FeedBroke"]
    daemon.feed.pause(False)


def test_a_pause_holds_back_what_is_shown_and_not_what_is_recorded(tmp_path: Path) -> None:
    daemon = ScriptedDaemon([snapshot(1), snapshot(2)], [snapshot(3), events(0)[0], snapshot(4)])
    recorder = Recorder(tmp_path / "a.jsonl")
    feed = RecordedFeed(daemon.feed, recorder, VirtualClock(6.0))
    feed.pause(True)
    feed.run(daemon.posted.append)
    recorder.close()
    assert kinds(daemon.posted) == ["SnapshotCame", "FeedBroke", "SnapshotCame", "EventCame", "FeedBroke"]
    lines = list(read_recording(tmp_path / "a.jsonl"))
    assert [line.snapshot for line in lines if line.snapshot] == [snapshot(tick) for tick in range(1, 5)]
    assert [line.t for line in lines if line.event] == [1.0]


def test_whatever_goes_wrong_is_told_and_the_feed_goes_on() -> None:
    daemon = ScriptedDaemon([snapshot(1)], [snapshot(2)])
    first = daemon.watch

    def watch(per_s: float, after_seq: int) -> Iterator[Snapshot | Event]:
        daemon.watch = first  # type: ignore[method-assign]
        raise ValueError("odd")

    daemon.watch = watch  # type: ignore[method-assign, assignment]
    posted = daemon.run()
    assert cast(FeedBroke, posted[0]).reason == "ValueError: odd"
    assert kinds(posted)[1:] == ["SnapshotCame", "FeedBroke"] * 2


def recorded(path: Path) -> Path:
    recorder = Recorder(path)
    recorder.note(events(0)[0], 99.0)  # before the first snapshot: left out
    for tick in range(3):
        recorder.take(snapshot(tick), 100.0 + tick)
        recorder.note(events(0)[1], 100.25 + tick)
    recorder.close()
    recorder.take(snapshot(9), 109.0)  # nothing is written any more
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_what_is_recorded_is_played_in_its_time(name: str, tmp_path: Path) -> None:
    path = recorded(tmp_path / name)
    lines = list(read_recording(path))
    assert [line.t for line in lines] == [0.0, 0.25, 1.0, 1.25, 2.0, 2.25]
    assert [line.snapshot for line in lines[::2]] == [snapshot(tick) for tick in range(3)]
    posted: list[Message] = []
    feed = ReplayFeed(path, SystemClock(), speed=1000.0)
    assert feed.title == f"replay of {name}"
    feed.run(posted.append)
    assert kinds(posted) == ["SnapshotCame", "EventCame"] * 3 + ["FeedEnded"]
    assert [message.at_s for message in posted if isinstance(message, SnapshotCame)] == [0.0, 1.0, 2.0]


def test_a_replay_stands_still_while_it_is_paused_and_can_be_stopped(tmp_path: Path) -> None:
    feed = ReplayFeed(recorded(tmp_path / "a.jsonl"), SystemClock(), speed=20.0)
    posted: list[Message] = []
    came = threading.Event()

    def post(message: Message) -> None:
        posted.append(message)
        came.set()

    feed.pause(True)
    thread = threading.Thread(target=feed.run, args=(post,))
    thread.start()
    assert not came.wait(0.3)
    feed.pause(False)
    assert came.wait(5.0)
    feed.stop()
    thread.join(5.0)
    assert not thread.is_alive()


def test_a_recording_that_cannot_go_on_ends_the_feed_with_the_reason() -> None:
    daemon = ScriptedDaemon([snapshot(1), snapshot(2)])
    recorder = Recorder(Path("/dev/full"))
    RecordedFeed(daemon.feed, recorder, VirtualClock()).run(daemon.posted.append)
    failed = next(message for message in daemon.posted if isinstance(message, FeedFailed))
    assert "No space left on device" in failed.reason
    with pytest.raises(RecordingError):
        recorder.close()


def test_a_damaged_line_is_told_with_its_number(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.jsonl")
    text = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*text[:3], b'{"t": "soon"}']))
    posted: list[Message] = []
    ReplayFeed(path, SystemClock(), speed=1000.0).run(posted.append)
    ended = posted[-1]
    assert isinstance(ended, FeedEnded)
    assert "line 4" in ended.reason
    assert isinstance(posted[0], SnapshotCame)
    assert isinstance(posted[1], EventCame)


def test_a_recording_of_another_version_or_of_nothing_is_refused(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.jsonl")
    newer = path.read_bytes().replace(b'"schema_version":%d' % SCHEMA_VERSION, b'"schema_version":99', 1)
    path.write_bytes(newer)
    with pytest.raises(RecordingError, match="snapshots of version 99; this one plays version"):
        ReplayFeed(path, SystemClock())
    path.write_bytes(newer.splitlines()[0].replace(b"99", b"%d" % SCHEMA_VERSION) + b"\n")
    with pytest.raises(RecordingError, match="holds no snapshots"):
        ReplayFeed(path, SystemClock())
    header, _, event, *_ = recorded(tmp_path / "b.jsonl").read_bytes().splitlines(keepends=True)
    path.write_bytes(header + event)
    with pytest.raises(RecordingError, match="holds no snapshots"):
        ReplayFeed(path, SystemClock())
