"""`aquahost bench`: what can be asked for is what can be measured."""

from __future__ import annotations

import importlib
import inspect

import pytest

from aquahost.cli import bench
from cli_harness import run_cli

NAMES = [measure.value for measure in bench.Measure if measure is not bench.Measure.ALL]


def test_every_name_has_its_measurement() -> None:
    assert list(bench._MEASURES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_measurement_is_a_function_without_arguments(name: str) -> None:
    module, _, function = bench._MEASURES[name].partition(":")
    assert not inspect.signature(getattr(importlib.import_module(module), function)).parameters


def test_help_lists_the_names_as_they_are_to_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 400)
    assert "|".join(["all", *NAMES]) in run_cli("bench", "--help").stdout


def test_a_name_with_underscores_is_none() -> None:
    assert all("_" not in name for name in NAMES)
    assert run_cli("bench", "long_prompt").exit_code == 2
