"""What `aquahost bench burst` may be told, and what it makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aquahost.cli.files import check_target
from aquahost.cli.lists import listed, one_of
from aquahost.traces.built_in import TRACES

if TYPE_CHECKING:
    from aquahost.bench.replay import Target
    from aquahost.traces.trace import Trace

_KINDS = "; ".join(f"{name}: {built.about}" for name, built in TRACES.items())
_OURS, _ANY = "Daemons of our own", "Any other server"

TraceOption = Annotated[str, typer.Option(metavar="NAME|FILE", help=f"{_KINDS}. Or a JSONL file, one prompt a line.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Another seed makes another trace of the same kind.")]
PromptsOption = Annotated[int | None, typer.Option(min=1, help="How many prompts, where not all of the trace.")]
RateOption = Annotated[float, typer.Option(min=0.001, max=1e6, help="Arrivals a second of poisson.")]
RunsOption = Annotated[int, typer.Option(min=1, max=100, help="Replays of each row; the median one is shown.")]
PoliciesOption = Annotated[
    str, typer.Option(metavar="LIST", help="Some of fcfs, fair, priority.", rich_help_panel=_OURS)
]
TiersOption = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="Where prompts go that must make room: recompute (nowhere), host, peer.",
        rich_help_panel=_OURS,
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Base URL of an OpenAI-compatible server; policies and tiers are its own matter then.",
        rich_help_panel=_ANY,
    ),
]
ModelOption = Annotated[str | None, typer.Option(help="Its model.", rich_help_panel=_ANY)]
KeyOption = Annotated[str | None, typer.Option(help="Its API key.", rich_help_panel=_ANY)]
TokenIdsOption = Annotated[
    bool, typer.Option("--token-ids", help="Send it token ids, exact in number, not words.", rich_help_panel=_ANY)
]
PngOption = Annotated[str | None, typer.Option(metavar="PREFIX", help="Draw PREFIX-ttft.png and PREFIX-tokens.png.")]


def asked_trace(name: str, *, seed: int, prompts: int | None, rate_per_s: float) -> Trace:
    """The built-in trace of that name, or the one in that file."""
    from aquahost.traces.built_in import make_trace
    from aquahost.traces.trace_file import read_trace

    if name in TRACES:
        return make_trace(name, seed=seed, prompts=prompts, rate_per_s=rate_per_s)
    path = Path(name)
    if path.suffix or path.exists():
        return read_trace(path, prompts)
    raise typer.BadParameter(f"{name!r} is neither {one_of(TRACES)} nor a file", param_hint="'--trace'")


def asked_target(url: str | None, model: str | None, key: str | None, token_ids: bool) -> Target | None:
    """The server to measure; None for daemons of our own."""
    from aquahost.bench.replay import Target, server_at

    if url is None:
        for flag, given in (("--model", model), ("--key", key), ("--token-ids", token_ids)):
            if given:
                raise typer.BadParameter("is for a server named with --url", param_hint=f"'{flag}'")
        return None
    if not model:
        raise typer.BadParameter("is missing: the name of the server's model", param_hint="'--model'")
    try:
        server = server_at(url)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--url'") from error
    return Target(server=server, model=model, keys={"": key or ""}, token_ids=token_ids)


def asked_setups(policies: str, tiers: str) -> tuple[list[str], list[str]]:
    """The policies and tiers in two lists with commas, each once, in the order given."""
    from aquahost.bench.burst import TIERS
    from aquahost.config.settings import Policy

    return listed(policies, "--policies", [policy.value for policy in Policy]), listed(tiers, "--tiers", TIERS)


def check_png(prefix: str) -> None:
    """Refuse a prefix that nothing can be written to, before anything is measured."""
    from aquahost.bench.plots import check_matplotlib

    check_target(prefix, "--png")
    check_matplotlib()
