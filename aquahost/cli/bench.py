"""`aquahost bench`: measure this machine, and say where the figures were taken."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from aquahost.cli.output import Column, Form, FormOption, say, write_data, write_line, write_table

if TYPE_CHECKING:
    from aquahost.bench.figures import Figure

_MEASURES = {
    "commands": "aquahost.bench.commands:measure_commands",
    "startup": "aquahost.bench.startup:measure_startup",
    "engine": "aquahost.bench.engine:measure_engine",
    "stream": "aquahost.bench.stream_cost:measure_stream_cost",
    "serving": "aquahost.bench.serving:measure_serving",
    "paging": "aquahost.bench.paging:measure_paging",
    "overlap": "aquahost.bench.overlap:measure_overlap",
    "recall": "aquahost.bench.recall:measure_recall",
    "broker": "aquahost.bench.broker:measure_broker",
    "long-prompt": "aquahost.bench.long_prompt:measure_long_prompt",
}


_MET = {None: "", True: "yes", False: "NO"}


class Measure(StrEnum):
    """What can be measured."""

    ALL = "all"
    COMMANDS = "commands"
    STARTUP = "startup"
    ENGINE = "engine"
    STREAM = "stream"
    SERVING = "serving"
    PAGING = "paging"
    OVERLAP = "overlap"
    RECALL = "recall"
    BROKER = "broker"
    LONG_PROMPT = "long-prompt"


def bench(
    measure: Annotated[Measure, typer.Argument(help="What to measure.")] = Measure.ALL,
    output: FormOption = Form.TABLE,
) -> None:
    """Measure this machine; daemons it needs are started and stopped apart from yours.

    Examples:

      aquahost bench engine          the language engine against model.generate

      aquahost bench all -o json     everything, for docs/benchmarks.md
    """
    # The daemons being measured must end with us, also when we are asked to end.
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    names = list(_MEASURES) if measure is Measure.ALL else [measure.value]
    results: dict[str, list[Figure]] = {}
    try:
        for name in names:
            say(f"measuring {name} …")
            results[name] = _measure(name)()
    finally:
        signal.signal(signal.SIGTERM, previous)
    _show(results, output)
    if any(figure.met is False for figures in results.values() for figure in figures):
        say("some figures miss their bar")
        raise typer.Exit(1)


def _measure(name: str) -> Callable[[], list[Figure]]:
    module, _, function = _MEASURES[name].partition(":")
    measure: Callable[[], list[Figure]] = getattr(importlib.import_module(module), function)
    return measure


def _show(results: dict[str, list[Figure]], form: Form) -> None:
    from aquahost.bench.figures import this_place

    place = this_place()
    if form is not Form.TABLE:
        write_data({"place": place, "figures": results}, form)
        return
    rows = [
        [name, figure.name, f"{figure.value:.4g} {figure.unit}", figure.bar, _MET[figure.met], figure.note]
        for name, figures in results.items()
        for figure in figures
    ]
    write_table(
        [*map(Column, ("MEASURE", "FIGURE")), Column("VALUE", right=True), *map(Column, ("BAR", "MET", "NOTE"))], rows
    )
    packages = ", ".join(f"{name} {version}" for name, version in place.packages.items())
    write_line(f"\n{place.machine}; {place.date}; commit {place.commit}; Python {place.python}, {packages}")
