"""`aquahost chaos`: what a daemon of its own makes of sudden deaths, strange bytes, strange requests and long use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aquahost.cli.durations import seconds
from aquahost.cli.ended import ended_by_sigterm
from aquahost.cli.output import Form, FormOption, say

if TYPE_CHECKING:
    from aquahost.bench.chaos.report import Report

ClientsOption = Annotated[int, typer.Option(min=1, max=1000, help="Clients that ask at the same time.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Another seed makes other prompts, and other moments.")]
ToysOption = Annotated[bool, typer.Option("--toys", help="Host toys alone, which need no torch and load at once.")]

app = typer.Typer(name="chaos", invoke_without_command=True, add_completion=False)


@app.callback()
def chaos(
    context: typer.Context,
    rounds: Annotated[int, typer.Option(min=0, help="How often a random worker is killed.")] = 10,
    daemon_kills: Annotated[int, typer.Option(min=0, help="How often the daemon is killed, and begun again.")] = 2,
    clients: ClientsOption = 12,
    seed: SeedOption = 1,
    toys: ToysOption = False,
    output: FormOption = Form.TABLE,
) -> None:
    """Kill, fuzz and wear out a daemon of its own; nothing may be lost.

    Without a command, workers and the daemon are killed by SIGKILL while clients ask. Every reply is compared to that
    of an undisturbed run. Ends with 1 if anything is lost, wrong or left over. Yours is not touched.

    Examples:

      aquahost chaos

      aquahost chaos --rounds 100 --daemon-kills 10 -o json
    """
    if context.invoked_subcommand is not None:
        if output is not Form.TABLE:
            raise typer.BadParameter(f"belongs behind {context.invoked_subcommand}", param_hint="'-o'")
        return
    from aquahost.bench.chaos.run import run_chaos

    with ended_by_sigterm():
        report = run_chaos(
            rounds=rounds, daemon_kills=daemon_kills, clients=clients, seed=seed, toys_only=toys, say=say
        )
    _show(report, output)


@app.command()
def soak(
    length: Annotated[str, typer.Option("--for", metavar="TIME", help="How long, like 45s or 30m.")] = "3m",
    clients: ClientsOption = 12,
    seed: SeedOption = 1,
    toys: ToysOption = False,
    output: FormOption = Form.TABLE,
) -> None:
    """Load a daemon for a long time: memory, descriptors and latency must stay flat.

    Each is sampled throughout, and its growth is the median slope of all pairs of samples (Theil and Sen) with its
    confidence interval. The first quarter, in which memory settles, does not count.

    Examples:

      aquahost chaos soak --for 30m -o json

      aquahost chaos soak --for 45s --toys
    """
    from aquahost.bench.chaos.soak import run_soak

    length_s = seconds(length, "--for")
    with ended_by_sigterm():
        report = run_soak(seconds=length_s, clients=clients, seed=seed, toys_only=toys, say=say)
    _show(report, output)


@app.command("bytes")
def fuzz_bytes(
    inputs: Annotated[int, typer.Option(min=1, help="How many inputs.")] = 5_000,
    connections: Annotated[int, typer.Option(min=1, max=500, help="Connections at the same time.")] = 64,
    seed: SeedOption = 1,
    output: FormOption = Form.TABLE,
) -> None:
    """Send bytes that no client should send, to the TCP port and to the Unix socket.

    Valid requests are cut, bent, repeated and mixed; no answer may be a 5xx, and other prompts go on as before.

    Examples:

      aquahost chaos bytes --inputs 100000
    """
    from aquahost.bench.chaos.fuzz_run import run_bytes

    with ended_by_sigterm():
        report = run_bytes(inputs=inputs, connections=connections, seed=seed, say=say)
    _show(report, output)


@app.command()
def schema(
    cases: Annotated[int, typer.Option(min=1, help="How many requests.")] = 500,
    seed: SeedOption = 1,
    toys: ToysOption = False,
    output: FormOption = Form.TABLE,
) -> None:
    """Send requests that schemathesis makes from the API's OpenAPI document, right and wrong ones.

    Routes that end the daemon or unload models are left out, as are streams without an end.

    Examples:

      aquahost chaos schema --cases 10000
    """
    from aquahost.bench.chaos.schema_run import run_schema

    with ended_by_sigterm():
        report = run_schema(cases=cases, seed=seed, toys_only=toys, say=say)
    _show(report, output)


def _show(report: Report, form: Form) -> None:
    from aquahost.cli.chaos_table import write_report

    write_report(report, form)
    if not report.is_whole:
        broken = [check.name for check in report.checks if check.found]
        say(f"broken: {'; '.join(broken)}")
        raise typer.Exit(1)
