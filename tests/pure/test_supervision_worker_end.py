"""What is said of a worker that ended, and where it was written."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from aquahost.daemon.worker_log import KEPT_BYTES, LIVE_BYTES, MOST_BYTES, last_line, open_log, trim_log
from aquahost.daemon.worker_process import describe_end


@pytest.mark.parametrize(
    ("status", "line", "said"),
    [
        (-signal.SIGKILL, "anything", "was killed by SIGKILL"),
        (-signal.SIGSEGV, "", "was killed by SIGSEGV"),
        (-99, "", "was killed by signal 99"),
        (1, "ValueError: no", "exited with status 1: ValueError: no"),
        (0, "", "exited with status 0"),
    ],
)
def test_how_a_worker_ended(status: int, line: str, said: str) -> None:
    assert describe_end(status, line) == said


def test_the_last_line_is_of_this_run_alone(tmp_path: Path) -> None:
    log = tmp_path / "model.log"
    log.write_text("an earlier run's end\n")
    before = log.stat().st_size
    assert last_line(log, before) == ""
    with open_log(log) as file:
        file.write(b"first\nMemoryError: no more\n\n")
    assert last_line(log, before) == "MemoryError: no more"


def test_a_log_that_is_not_there_or_not_text_has_no_surprises(tmp_path: Path) -> None:
    assert last_line(tmp_path / "nothing.log", 0) == ""
    (tmp_path / "noise.log").write_bytes(b"\xff" * 100_000)
    assert len(last_line(tmp_path / "noise.log", 0)) == 300


def test_a_large_log_is_set_aside(tmp_path: Path) -> None:
    log = tmp_path / "model.log"
    with log.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with open_log(log) as file:
        file.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "model.log.1").stat().st_size == MOST_BYTES + 1
    assert last_line(log, MOST_BYTES + 1) == "new"


def test_a_log_that_grows_while_its_worker_lives_keeps_its_last_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "model.log"
    line = b"x" * 999 + b"\n"
    with open_log(path) as log:
        log.write(line * (LIVE_BYTES // len(line)))
        log.flush()
        trim_log(path)
        assert path.stat().st_size == LIVE_BYTES // len(line) * len(line)  # not yet too large
        log.write(b"y" * 1000 + b"\n")
        log.flush()
        trim_log(path)
        log.write(b"written after\n")
    kept = path.read_bytes()
    assert KEPT_BYTES - len(line) < len(kept) <= KEPT_BYTES + 14
    assert kept.startswith(line)
    assert kept.endswith(line + b"y" * 1000 + b"\nwritten after\n")
    assert last_line(path, LIVE_BYTES) == "written after"


def test_a_log_of_one_endless_line_is_bounded_too_and_one_that_is_gone_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "model.log"
    with path.open("wb") as file:
        file.truncate(LIVE_BYTES + 1)
    trim_log(path)
    assert path.stat().st_size == KEPT_BYTES
    trim_log(tmp_path / "gone.log")
