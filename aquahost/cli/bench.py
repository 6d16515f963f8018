"""`aquahost bench`: measure this machine, and say where the figures were taken."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from aquahost.bench.figures import Figure

_MEASURES = {
    "commands": "aquahost.bench.commands:measure_commands",
    "startup": "aquahost.bench.startup:measure_startup",
    "engine": "aquahost.bench.engine:measure_engine",
    "stream": "aquahost.bench.stream_cost:measure_stream_cost",
    "serving": "aquahost.bench.serving:measure_serving",
}


class Measure(StrEnum):
    """What can be measured."""

    ALL = "all"
    COMMANDS = "commands"
    STARTUP = "startup"
    ENGINE = "engine"
    STREAM = "stream"
    SERVING = "serving"


class Form(StrEnum):
    """How the figures are printed."""

    TABLE = "table"
    JSON = "json"


def bench(
    measure: Annotated[Measure, typer.Argument(help="What to measure.")] = Measure.ALL,
    output: Annotated[Form, typer.Option("-o", "--output", help="A table for people or JSON.")] = Form.TABLE,
) -> None:
    """Measure this machine; daemons it needs are started and stopped apart from yours.

    Examples:

      aquahost bench engine          the language engine against model.generate

      aquahost bench all -o json     everything, for docs/benchmarks.md
    """
    names = list(_MEASURES) if measure is Measure.ALL else [measure.value]
    results: dict[str, list[Figure]] = {}
    for name in names:
        sys.stderr.write(f"measuring {name} …\n")
        results[name] = _measure(name)()
    _show(results, output)
    if any(figure.met is False for figures in results.values() for figure in figures):
        sys.stderr.write("some figures miss their bar\n")
        raise typer.Exit(1)


def _measure(name: str) -> Callable[[], list[Figure]]:
    module, _, function = _MEASURES[name].partition(":")
    measure: Callable[[], list[Figure]] = getattr(importlib.import_module(module), function)
    return measure


def _show(results: dict[str, list[Figure]], form: Form) -> None:
    import msgspec

    from aquahost.bench.figures import this_place

    place = this_place()
    if form is Form.JSON:
        sys.stdout.write(
            json.dumps({"place": msgspec.to_builtins(place), "figures": msgspec.to_builtins(results)}, indent=2)
        )
        sys.stdout.write("\n")
        return
    from rich.console import Console
    from rich.table import Table

    packages = ", ".join(f"{name} {version}" for name, version in place.packages.items())
    table = Table(
        box=None, caption=f"{place.machine}; {place.date}; commit {place.commit}; {packages}", caption_justify="left"
    )
    for column in ("MEASURE", "FIGURE", "VALUE", "BAR", "MET", "NOTE"):
        table.add_column(column, justify="right" if column == "VALUE" else "left")
    for name, figures in results.items():
        for figure in figures:
            met = {None: "", True: "yes", False: "NO"}[figure.met]
            table.add_row(name, figure.name, f"{figure.value:.4g} {figure.unit}", figure.bar, met, figure.note)
    Console().print(table)
