"""`aquahost top` without a terminal: one picture, and every wrong use."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from aquahost.messages.snapshot import SCHEMA_VERSION
from aquahost_tui.feeds.recording import Recorder
from aquahost_tui.frame import draw_recording
from cli_harness import Canned, run_cli
from made_host import events, snapshot, snapshots

TICKS = 28


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "burst.jsonl"
    recorder = Recorder(path)
    for tick, (at_s, taken) in enumerate(snapshots(TICKS)):
        recorder.take(taken, at_s)
        for event in events(tick)[len(events(tick - 1)) :]:
            recorder.note(event, 0.0)
    recorder.close()
    return path


class ATerminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


def test_one_picture_of_a_daemon_is_plain_text_in_a_pipe() -> None:
    api = Canned(snapshot(20), snapshot(21), **{"GET /control/events?after=0": sse_events(21)})
    result = run_cli("top", "--once", "--size", "100x30", api=api)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 30
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in result.stdout
    for words in ("EMULATED", "paged to GPU 4", "lease 1: GPU 2 wants 512 MiB back", "● chat"):
        assert words in result.stdout
    assert "1 overview" not in result.stdout, "there are no keys to press"
    assert "tok/s 0" not in result.stdout, "rates need two snapshots"


def sse_events(tick: int) -> object:
    import httpx
    import msgspec

    text = b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events(tick))
    return httpx.Response(200, content=text, headers={"content-type": "text/event-stream"})


def test_one_picture_of_a_recording_needs_no_daemon(recording: Path) -> None:
    result = run_cli("top", "--once", "--replay", str(recording))
    assert result.exit_code == 0, result.output
    assert "prompts 96: 24 run 72 paged" in result.stdout
    assert len(result.stdout.splitlines()) >= 16


def test_a_picture_on_a_terminal_has_its_colours(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLORTERM", raising=False)
    picture = draw_recording(recording, size=(80, 24), theme=None)
    text = picture.coloured(ATerminal())
    assert "\x1b[" in text
    assert "38;5;" in text
    assert "38;2;" not in text
    assert len(text.splitlines()) == 24
    assert "\x1b" not in picture.plain()


def test_without_a_daemon_a_picture_is_refused() -> None:
    result = run_cli("top", "--once")
    assert result.exit_code == 3
    assert result.stderr == "aquahost: no daemon answers at /nonexistent/socket; start one with: aquahost up -d\n"


def test_without_a_terminal_it_says_what_to_use_instead(recording: Path) -> None:
    for words in ((), ("--replay", str(recording)), ("--readonly",)):
        result = run_cli("top", *words)
        assert result.exit_code == 2
        assert result.stderr == "aquahost: top needs a terminal; for one picture as text: aquahost top --once\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--theme", "pink"), "there is no theme pink; there are: aquahost-dark, aquahost-light, aquahost-16"),
        (("--once", "--size", "wide"), "write columns x lines, like 160x50"),
        (("--once", "--size", "10x5"), "must be from 64x16 to 500x500"),
        (("--once", "--size", "9999x50"), "must be from 64x16 to 500x500"),
        (("--size", "80x24"), "belongs to --once"),
        (("--speed", "2"), "belongs to --replay"),
        (("--once", "--record", "x"), "excludes --once"),
        (("--record", "x", "--replay", "{}"), "excludes --replay"),
        (("--replay", "/nonexistent"), "does not exist"),
        (("--replay", "{}", "--speed", "0"), "should be greater than or equal to 0.01"),
        (("--per-s", "31"), "should be less than or equal to 30"),
        (("--per-s", "nan"), "should be less than or equal to 30"),
        (("--once", "--per-s", "3"), "excludes --once"),
        (("--replay", "{}", "--per-s", "3"), "excludes --replay"),
        (("--once", "--readonly"), "goes without saying with --once"),
        (("--replay", "{}", "--readonly"), "goes without saying with --replay"),
        (("--overwrite",), "belongs to --record"),
        (("--record", "{}"), "exists; name another file, or add --overwrite"),
        (("--replay", "{}", "--speed", "nan"), "should be less than or equal to 1000"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_wrong_use_is_2_with_the_reason(words: tuple[str, ...], reason: str, recording: Path) -> None:
    result = run_cli("top", *(word.format(recording) for word in words))
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.replace("│", " ").split())


def test_only_a_file_that_holds_something_is_kept(recording: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for words in ((str(recording), "--overwrite"), (str(empty),), (str(tmp_path / "new"),), ("/dev/null",)):
        result = run_cli("top", "--record", *words)
        assert "top needs a terminal" in result.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no recording; make one with: aquahost top --record FILE"),
        ("hello\n", "is no recording; make one with: aquahost top --record FILE"),
        (
            '{"format": "aquahost recording", "schema_version": 1, "version": "0.0.9"}\n',
            "was recorded by aquahost 0.0.9 with snapshots of version 1; this one plays version "
            f"{SCHEMA_VERSION}. Play it with the aquahost that made it",
        ),
        (
            f'{{"format": "aquahost recording", "schema_version": {SCHEMA_VERSION}}}\n{{"t": 0}}\n',
            " holds no snapshots",
        ),
        (
            f'{{"format": "aquahost recording", "schema_version": {SCHEMA_VERSION}}}\n{{"t": 0, "snapshot": 3}}\n',
            ", line 2: Expected `object | null`, got `int` - at `$.snapshot`",
        ),
    ],
    ids=["empty", "another file", "another version", "no snapshots", "damaged"],
)
def test_what_is_no_recording_is_1_with_the_reason(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "strange.jsonl"
    path.write_text(text)
    result = run_cli("top", "--once", "--replay", str(path))
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"aquahost: {path}")
    assert line.endswith(reason)


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_of_a_packed_recording_that_was_cut_off_what_is_left_is_drawn(
    kept: float, recording: Path, tmp_path: Path
) -> None:
    packed = gzip.compress(recording.read_bytes())
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(packed[: int(len(packed) * kept)])
    result = run_cli("top", "--once", "--replay", str(path))
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"aquahost: {path} ends in the middle; it was cut off after line ")
    assert line.endswith("; the picture shows what stands before that")
    assert "replay of cut.jsonl.gz" in result.stdout
    assert "● chat ready" in result.stdout


def test_a_line_that_was_cut_off_is_told_and_those_before_it_are_drawn(recording: Path) -> None:
    recording.write_bytes(recording.read_bytes()[:-9])
    result = run_cli("top", "--once", "--replay", str(recording))
    assert result.exit_code == 0
    assert ": Input data was truncated; the picture shows" in result.stderr
    assert "● chat ready" in result.stdout


def test_a_recording_that_is_damaged_before_any_snapshot_is_1(recording: Path, tmp_path: Path) -> None:
    packed = gzip.compress(recording.read_bytes())
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(packed[:100] + b"\xff" * 50 + packed[150:])
    result = run_cli("top", "--once", "--replay", str(path))
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
