"""What terminals get and pipes do not: colours, bars; and what no terminal may get."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest

from aquahost.cli.follow import load_progress
from aquahost.cli.load_bars import LoadBars
from aquahost.cli.output import Cell, Column, has_colour, one_line, write_table
from aquahost.cli.run_text import run_text
from aquahost.cli.step_bar import StepBar
from aquahost.client import StepDone, TextEnd, TextPiece
from aquahost.messages.snapshot import ModelState
from aquahost.messages.wire import LoadProgress
from cli_harness import GIB, a_model


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Terminal]:
    """Puts a terminal in the place of a standard stream."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def put(name: str) -> Terminal:
        stream = Terminal()
        monkeypatch.setattr(f"sys.{name}", stream)
        return stream

    return put


def test_colours_are_for_terminals_that_want_them(terminal: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_colour(terminal("stdout"))
    assert not has_colour(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Terminal())


def test_colours_do_not_move_columns(terminal: Callable) -> None:
    stdout = terminal("stdout")
    write_table([Column("A"), Column("B")], [[Cell("x", "31"), "1"], ["yyy", Cell("2", "32")]])
    assert stdout.getvalue() == ("\x1b[1mA  \x1b[0m  \x1b[1mB\x1b[0m\n\x1b[31mx  \x1b[0m  1\nyyy  \x1b[32m2\x1b[0m\n")


def test_load_bars_show_what_is_loaded(terminal: Callable) -> None:
    stderr = terminal("stderr")
    with load_progress() as show:
        assert isinstance(show, LoadBars)
        show.update(a_model("a", ModelState.UNLOADED))
        show.update(a_model("a", ModelState.LOADING, load=LoadProgress("reading [x]", 0, 0)))
        show.update(a_model("a", ModelState.LOADING, load=LoadProgress("loading weights", GIB, 4 * GIB)))
        show.update(a_model("b", ModelState.FAILED, reason="no space"))
        show.update(a_model("a"))
    text = stderr.getvalue()
    assert "ready (2.0 GiB of weights, GPU 0)" in text
    assert "failed: no space" in text


def test_step_bar_counts(terminal: Callable) -> None:
    stderr = terminal("stderr")
    with StepBar() as bar:
        bar.update(StepDone(step=3, steps=20))
    assert "3/20" in stderr.getvalue()


class Talker:
    """A client whose model says something wicked."""

    def chat(self, *_: object, **__: object) -> Iterator[TextPiece | TextEnd]:
        yield TextPiece("a\x1b[2Jb\n\tü")
        yield TextEnd(finish_reason="stop", input_tokens=1, output_tokens=1)


class Asked:
    """Plain words to the model, reply to stdout."""

    model, prompt, output, options = "chat", "Hi", None, {}

    def fields(self) -> dict[str, object]:
        return {}

    def messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.prompt}]


def test_a_reply_cannot_control_the_terminal(terminal: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    run_text(Talker(), Asked(), lambda: 0.0)  # type: ignore[arg-type]
    assert capsys.readouterr().out == "a\x1b[2Jb\n\tü\n"  # a pipe gets it as it is
    stdout = terminal("stdout")
    run_text(Talker(), Asked(), lambda: 0.0)  # type: ignore[arg-type]
    assert stdout.getvalue() == "a\ufffd[2Jb\n\tü\n"


def test_text_from_elsewhere_is_one_harmless_line() -> None:
    assert one_line("a\n\tb \x1b[31m c\x00") == "a b [31m c"
