"""Help is complete and true."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import pytest
import typer

import aquahost
from aquahost.cli.lazy import LazyCommand
from aquahost.cli.main import COMMANDS
from cli_harness import run_cli


def test_version() -> None:
    assert run_cli("--version").stdout == f"aquahost {aquahost.__version__}\n"


def test_help_and_package_promise_nothing_to_come() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for text in (run_cli("--help").stdout, project["description"]):
        assert "slice" not in text
        assert "many generative models" in " ".join(text.split())


def test_help_lists_every_command() -> None:
    text = run_cli("--help").stdout
    for command in COMMANDS:
        assert (f" {command.name} " in text) is not command.hidden


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_is_what_help_says_it_is(command: LazyCommand) -> None:
    """The line in `aquahost --help` is written without importing the command, so it could drift."""
    real = command.load()
    assert command.name == real.name
    assert (real.help or "").split("\n\n")[0].strip() == command.help


def commands_of(words: tuple[str, ...], command: object) -> list[tuple[str, ...]]:
    if hasattr(command, "commands"):
        return [found for name, inner in command.commands.items() for found in commands_of((*words, name), inner)]
    return [words]


ALL = [found for command in COMMANDS for found in commands_of((command.name,), command.load())]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_each_command_has_help_with_examples(words: tuple[str, ...]) -> None:
    result = run_cli(*words, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert f"aquahost {' '.join(words)}" in result.stdout.partition("Examples:")[2]


def test_commands_are_plain_functions_or_groups() -> None:
    for command in COMMANDS:
        module, _, attribute = command.place.partition(":")
        target = getattr(__import__(module, fromlist=[attribute]), attribute)
        assert inspect.isfunction(target) or isinstance(target, typer.Typer)
