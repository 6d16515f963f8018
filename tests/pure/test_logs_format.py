"""Logs as text and as JSON, and a log whose disk is full."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquahost.daemon.event_log import EventLog
from aquahost.daemon.log_file import PatientFileHandler
from aquahost.daemon.log_setup import logging_to
from aquahost.daemon.worker_log import last_line, open_log
from aquahost.events import EventKind
from aquahost.log_format import log_format, said


def record(message: str, *args: object, **fields: str) -> logging.LogRecord:
    made = logging.LogRecord("aquahost.test", logging.INFO, __file__, 1, message, args, None)
    made.__dict__.update(fields)
    return made


def test_json_is_one_object_a_line() -> None:
    form = log_format("json", "", model="chat")
    line = form.format(record("two\nlines of %s", "text", prompt_id="abc"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": json.loads(line)["time"],
        "level": "INFO",
        "logger": "aquahost.test",
        "message": "two\nlines of text",
        "model": "chat",
        "prompt_id": "abc",
    }
    assert json.loads(form.format(record("x", model="paint")))["model"] == "paint"
    assert "prompt_id" not in json.loads(log_format("json", "").format(record("x")))


def test_json_holds_the_exception() -> None:
    try:
        raise MemoryError("too much")
    except MemoryError:
        made = logging.LogRecord("a", logging.ERROR, __file__, 1, "it broke", (), sys.exc_info())
    line = log_format("json", "").format(made)
    assert json.loads(line)["exception"].endswith("MemoryError: too much")
    assert said(line) == "MemoryError: too much"


def test_text_names_the_prompt_once() -> None:
    form = log_format("text", "%(levelname)s %(message)s")
    assert form.format(record("it failed", prompt_id="abc")) == "INFO it failed [prompt abc]"
    assert form.format(record("prompt abc failed", prompt_id="abc")) == "INFO prompt abc failed"
    assert form.format(record("no prompt")) == "INFO no prompt"


@pytest.mark.parametrize("line", ["plain", "{not json", "[1]", '{"message": 3}', "{}", ""])
def test_what_is_no_line_of_ours_is_taken_as_it_is(line: str) -> None:
    assert said(line) == line


def test_how_a_worker_ended_is_read_from_either(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(log_format("json", "").format(record("the engine broke")) + "\n")
    assert last_line(log, 0) == "the engine broke"


@pytest.fixture
def quiet_root() -> Iterator[None]:
    """The root logger without pytest's handlers, so that only ours are asked."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    yield
    root.handlers = before


@pytest.mark.usefixtures("quiet_root")
def test_the_daemon_s_events_carry_model_and_prompt(tmp_path: Path) -> None:
    with logging_to(tmp_path / "daemon.log", "json"):
        EventLog().add(EventKind.PROMPT_FAILED, "text prompt failed", model="chat", prompt_id="abc")
    (line,) = (tmp_path / "daemon.log").read_text().splitlines()
    assert {"model": "chat", "prompt_id": "abc"}.items() <= json.loads(line).items()


def test_a_full_disk_is_told_once_and_what_is_missing_when_there_is_room(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "daemon.log"
    path.symlink_to("/dev/full")
    handler = PatientFileHandler(path, encoding="utf-8")
    for _ in range(3):
        handler.emit(record("lost"))
    assert capfd.readouterr().err == f"the log {path} cannot be written: No space left on device\n"
    path.unlink()
    handler.stream.close()
    handler.stream = handler._open()
    handler.emit(record("back"))
    handler.close()
    assert path.read_text().splitlines() == ["back", "the log could not be written; 3 lines are missing here"]


def test_a_fault_of_the_code_is_not_hidden(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    handler = PatientFileHandler(tmp_path / "log")
    handler.emit(record("%d", "no number"))
    handler.close()
    assert "TypeError" in capfd.readouterr().err


def test_a_worker_runs_without_a_log_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with open_log(tmp_path / "file" / "model.log") as log:
        log.write(b"said to nobody")
    assert "its worker runs without one" in caplog.text
