"""`aquahost down`: the daemon's end."""

from __future__ import annotations

import os
import signal
from typing import Annotated

import typer

from aquahost.cli.daemon_process import lives, living_daemon
from aquahost.cli.durations import seconds
from aquahost.cli.output import say
from aquahost.cli.surroundings import Surroundings, surroundings
from aquahost.client import Client
from aquahost.errors import AquahostError, StartError, UnreachableError

_LOOK_EVERY_S = 0.1
_GRACE_S = 20.0
"""Beyond the drain time, for workers to end."""
_ESCALATE_S = 5.0
"""With --now, between asking, SIGTERM and SIGKILL."""


def down(
    context: typer.Context,
    drain: Annotated[str, typer.Option(metavar="TIME", help="Time that live prompts have to end.")] = "30s",
    now: Annotated[bool, typer.Option("--now", help="Cancel live prompts; kill a daemon that does not end.")] = False,
) -> None:
    """Stop the daemon.

    New prompts are refused at once, live ones may end. Returns when the daemon and its workers are gone. Ends with 3
    if none runs.

    Examples:

      aquahost down

      aquahost down --drain 5m

      aquahost down --now
    """
    around = surroundings(context)
    drain_s = 0.0 if now else seconds(drain, "--drain")
    pid = _ask_to_end(around, drain_s)
    gone = _gone(around, pid, _ESCALATE_S if now else drain_s + _GRACE_S)
    if not gone and not (now and _killed(around, pid)):
        raise StartError(f"the daemon (pid {pid}) still runs; end it with: aquahost down --now")
    say("the daemon has stopped")


def _ask_to_end(around: Surroundings, drain_s: float) -> int:
    """Ask over the socket, else by signal; the daemon's process id. Raises UnreachableError if there is none."""
    try:
        with around.client() as client:
            snapshot = client.snapshot()
            client.shutdown(drain_s)
            return snapshot.pid
    except UnreachableError:
        pid = living_daemon(around.env)
        if pid is None:
            raise UnreachableError(f"no daemon runs (none answers at {around.socket()})") from None
        say(f"the daemon (pid {pid}) does not answer; ending it by signal")
        _signal(pid, signal.SIGTERM)
        return pid


def _gone(around: Surroundings, pid: int, within_s: float) -> bool:
    """Wait for the process to end, saying how many prompts it waits for."""
    deadline_s = around.now_s() + within_s
    said: int | None = None
    while lives(pid):
        if around.now_s() > deadline_s:
            return False
        left = _prompts_left(around)
        if left and left != said:
            say(f"draining: {left} live prompt{'s' if left > 1 else ''}")
            said = left
        around.sleep(_LOOK_EVERY_S)
    return True


def _killed(around: Surroundings, pid: int) -> bool:
    for number in (signal.SIGTERM, signal.SIGKILL):
        say(f"the daemon (pid {pid}) does not end; sending {number.name}")
        _signal(pid, number)
        if _gone(around, pid, _ESCALATE_S):
            return True
    return False


def _prompts_left(around: Surroundings) -> int | None:
    try:
        with Client(around.socket(), transport=around.transport, timeout_s=1.0) as client:
            return len(client.snapshot().prompts)
    except AquahostError:
        return None  # it is on its way out


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
