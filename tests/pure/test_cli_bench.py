"""`aquahost bench`: what can be asked for is what can be measured."""

from __future__ import annotations

import importlib
import inspect

import pytest

from aquahost.cli.bench import MEASURES
from cli_harness import run_cli


@pytest.mark.parametrize("name", MEASURES)
def test_every_measurement_is_a_function_without_arguments(name: str) -> None:
    module, _, function = MEASURES[name].place.partition(":")
    assert not inspect.signature(getattr(importlib.import_module(module), function)).parameters


def test_help_lists_the_names_as_they_are_to_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 400)
    text = run_cli("bench", "--help").stdout
    for name in ("burst", "all", *MEASURES):
        assert f" {name} " in text


def test_a_name_with_underscores_is_none() -> None:
    assert all("_" not in name for name in MEASURES)
    assert run_cli("bench", "long_prompt").exit_code == 2


def test_an_output_form_before_the_name_is_refused_and_not_lost() -> None:
    assert run_cli("bench", "-o", "json", "broker").exit_code == 2
