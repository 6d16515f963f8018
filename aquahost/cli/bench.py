"""`aquahost bench`: measure this machine, and say where the figures were taken."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from aquahost.cli.bench_burst import burst
from aquahost.cli.bench_evaluation import evaluation
from aquahost.cli.ended import ended_by_sigterm
from aquahost.cli.lazy import reflowed
from aquahost.cli.output import Column, Form, FormOption, say, write_data, write_line, write_table

if TYPE_CHECKING:
    from aquahost.bench.figures import Figure


@dataclass(frozen=True, slots=True)
class Measure:
    """A group of figures that can be measured."""

    place: str
    """"module:function"."""
    about: str
    """What the figures are of, for `--help`."""


MEASURES = {
    "commands": Measure("aquahost.bench.commands:measure_commands", "How long client commands take."),
    "startup": Measure("aquahost.bench.startup:measure_startup", "How long the packaged demo takes to come up."),
    "engine": Measure("aquahost.bench.engine:measure_engine", "The language engine against model.generate."),
    "stream": Measure("aquahost.bench.stream_cost:measure_stream_cost", "What a streamed token costs the daemon."),
    "serving": Measure("aquahost.bench.serving:measure_serving", "A burst of prompts over HTTP, and one stream."),
    "hostile": Measure("aquahost.bench.hostile:measure_hostile", "What hostile clients cost the others."),
    "queued": Measure("aquahost.bench.queued:measure_queued", "What ten thousand queued prompts cost the daemon."),
    "top": Measure("aquahost.bench.top:measure_top", "What the terminal UI costs beside a thousand prompts."),
    "paging": Measure("aquahost.bench.paging:measure_paging", "How fast prompts are paged out and in."),
    "overlap": Measure("aquahost.bench.overlap:measure_overlap", "What paging costs the steps beside it."),
    "recall": Measure("aquahost.bench.recall:measure_recall", "How soon a donor has its memory back."),
    "broker": Measure("aquahost.bench.broker:measure_broker", "How many events the broker handles."),
    "decision": Measure("aquahost.bench.decision:measure_decision", "How long the scheduler takes to plan a step."),
    "plan": Measure("aquahost.bench.plan:measure_plan", "How long planning 256 models on 256 GPUs takes."),
    "long-prompt": Measure(
        "aquahost.bench.long_prompt:measure_long_prompt", "A prompt with most of its KV on a neighbour."
    ),
    "fidelity": Measure(
        "aquahost.bench.fidelity:measure_fidelity", "What the simulator foretells against what the daemon does."
    ),
}
_MET = {None: "", True: "yes", False: "NO"}

app = typer.Typer(name="bench", invoke_without_command=True, add_completion=False)


@app.callback()
def bench(context: typer.Context, output: FormOption = Form.TABLE) -> None:
    """Measure this machine; daemons it needs are started and stopped apart from yours.

    Without a command, all but burst and evaluation is measured.
    """
    if context.invoked_subcommand is None:
        _measure(list(MEASURES), output)
    elif output is not Form.TABLE:
        raise typer.BadParameter(f"belongs behind {context.invoked_subcommand}", param_hint="'-o'")


app.command(help=reflowed(inspect.getdoc(burst) or ""))(burst)
app.command(help=reflowed(inspect.getdoc(evaluation) or ""))(evaluation)


@app.command("all")
def measure_all(output: FormOption = Form.TABLE) -> None:
    """Everything but burst and evaluation.

    Examples:

      aquahost bench all -o json     for docs/benchmarks.md
    """
    _measure(list(MEASURES), output)


def _command(name: str) -> Callable[..., None]:
    def measure_one(output: FormOption = Form.TABLE) -> None:
        _measure([name], output)

    return measure_one


for _name, _one in MEASURES.items():
    _examples = f"Examples:\n\n  aquahost bench {_name}\n\n  aquahost bench {_name} -o json"
    app.command(_name, help=f"{_one.about}\n\n{_examples}")(_command(_name))


def _measure(names: Sequence[str], output: Form) -> None:
    results: dict[str, list[Figure]] = {}
    with ended_by_sigterm():
        for name in names:
            say(f"measuring {name} …")
            module, _, function = MEASURES[name].place.partition(":")
            results[name] = getattr(importlib.import_module(module), function)()
    _show(results, output)
    if any(figure.met is False for figures in results.values() for figure in figures):
        say("some figures miss their bar")
        raise typer.Exit(1)


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
