"""The `aquahost` command: what there is, and where. Imports no command until it is called."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from aquahost import __version__
from aquahost.cli.exits import MEANINGS, ExitCode
from aquahost.cli.lazy import LazyCommand, LazyGroup
from aquahost.cli.output import say, write_line
from aquahost.cli.surroundings import Surroundings

_DAEMON, _MODELS, _PROMPTS, _MORE = "The daemon", "Models and GPUs", "Prompts", "More"
_TOP_HELP = "Watch and steer GPUs, models, leases and prompts, live; also: aquahost tui."

COMMANDS = (
    LazyCommand("up", "aquahost.cli.up:up", "Start the daemon and load its models.", _DAEMON),
    LazyCommand("down", "aquahost.cli.down:down", "Stop the daemon.", _DAEMON),
    LazyCommand("reload", "aquahost.cli.reload:reload", "Take over a changed models.yaml without a restart.", _DAEMON),
    LazyCommand("status", "aquahost.cli.status:status", "Show daemon, GPUs and models on one screen.", _DAEMON),
    LazyCommand("top", "aquahost.cli.top:top", _TOP_HELP, _DAEMON),
    LazyCommand("tui", "aquahost.cli.top:top", _TOP_HELP, _DAEMON, hidden=True),
    LazyCommand("logs", "aquahost.cli.logs:logs", "Show the log of the daemon or of a model.", _DAEMON),
    LazyCommand("events", "aquahost.cli.events:events", "Show what happened, as it happens with -f.", _DAEMON),
    LazyCommand("ps", "aquahost.cli.ps:ps", "List the models: state, GPU, memory, queue.", _MODELS),
    LazyCommand("gpus", "aquahost.cli.gpus:gpus", "List the GPUs and what fills their memory.", _MODELS),
    LazyCommand(
        "leases", "aquahost.cli.leases:leases", "List the leases: which GPU lends memory to which model.", _MODELS
    ),
    LazyCommand("load", "aquahost.cli.load:load", "Load models and wait until they are ready.", _MODELS),
    LazyCommand("unload", "aquahost.cli.unload:unload", "Unload models, giving their prompts time to end.", _MODELS),
    LazyCommand("park", "aquahost.cli.parking:park", "Move idle models' weights off their GPUs.", _MODELS),
    LazyCommand("wake", "aquahost.cli.parking:wake", "Bring parked models' weights back to their GPUs.", _MODELS),
    LazyCommand("pin", "aquahost.cli.parking:pin", "Keep models' weights on their GPUs: never park them.", _MODELS),
    LazyCommand("unpin", "aquahost.cli.parking:unpin", "Let models be parked when they are idle.", _MODELS),
    LazyCommand("run", "aquahost.cli.run:run", "Ask a model: stream text, save an image or a sound.", _PROMPTS),
    LazyCommand(
        "submit", "aquahost.cli.submit:submit", "Queue prompts as jobs that outlive you and the daemon.", _PROMPTS
    ),
    LazyCommand("jobs", "aquahost.cli.jobs:jobs", "List the jobs.", _PROMPTS),
    LazyCommand("wait", "aquahost.cli.wait:wait", "Wait until jobs have ended.", _PROMPTS),
    LazyCommand("result", "aquahost.cli.result:result", "Write a job's text, or save its images or sound.", _PROMPTS),
    LazyCommand("queue", "aquahost.cli.queue:queue", "List the live prompts.", _PROMPTS),
    LazyCommand("cancel", "aquahost.cli.cancel:cancel", "Cancel live prompts, jobs and batches.", _PROMPTS),
    LazyCommand(
        "doctor", "aquahost.cli.doctor.command:doctor", "Look for what keeps models from running or lending.", _MORE
    ),
    LazyCommand("config", "aquahost.cli.config:app", "Check and show models.yaml.", _MORE),
    LazyCommand("keys", "aquahost.cli.keys:app", "Make and revoke keys of the HTTP API.", _MORE),
    LazyCommand(
        "profile", "aquahost.cli.profile:profile", "Measure what a model costs on a GPU, or work it out.", _MORE
    ),
    LazyCommand(
        "plan", "aquahost.cli.plan:plan", "Say which model goes on which GPU, who lends to whom, and why.", _MORE
    ),
    LazyCommand(
        "simulate",
        "aquahost.cli.simulate:simulate",
        "Simulate what a node will do under a load, on a virtual clock: no GPUs, no weights.",
        _MORE,
    ),
    LazyCommand(
        "bench",
        "aquahost.cli.bench:app",
        "Measure this machine; daemons it needs are started and stopped apart from yours.",
        _MORE,
    ),
    LazyCommand(
        "chaos", "aquahost.cli.chaos:app", "Kill, fuzz and wear out a daemon of its own; nothing may be lost.", _MORE
    ),
)

_EPILOG = f"""
Without a models.yaml, `aquahost up` hosts a small packaged demo.

Exit codes: {"; ".join(f"{int(code)} {meaning}" for code, meaning in MEANINGS.items())}.

Variables: AQUAHOST_CONFIG names the models.yaml, AQUAHOST_SOCKET the daemon's socket; AQUAHOST_HOST__PORT=9000 \
sets host.port, and so on for all of host, scheduler and leasing; AQUAHOST_RUNTIME_DIR and AQUAHOST_STATE_DIR (its \
logs and keys) set a second daemon apart; NO_COLOR turns colours off.
"""


class AquahostGroup(LazyGroup):
    """All commands of aquahost."""

    table = COMMANDS


app = typer.Typer(
    cls=AquahostGroup,
    name="aquahost",
    help="Host many generative models on one server: language, image and audio behind one OpenAI API.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        write_line(f"aquahost {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Give the commands their surroundings, unless a test has."""
    context.ensure_object(Surroundings)


def main() -> None:
    """Run the command line; ends by SystemExit."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        try:
            app(prog_name="aquahost")
        finally:
            sys.stdout.flush()  # here, where a failure can still be dealt with
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # whoever reads a pipe may leave, and wants no complaint
            say(f"aquahost: {error.strerror}")
        raise SystemExit(ExitCode.FAILED) from None
