"""`aquahost down`: the daemon's end."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Annotated

import typer

from aquahost.cli.daemon_process import lives, living_daemon
from aquahost.cli.durations import seconds
from aquahost.cli.output import say
from aquahost.cli.surroundings import Surroundings, surroundings
from aquahost.errors import AquahostError, StartError, UnreachableError

_LOOK_EVERY_S = 0.1
_DRAIN_S = 30.0
"""What host.drain_s is taken for where the daemon cannot be asked."""
_GRACE_S = 20.0
"""Beyond the drain time, for workers to end."""
_ESCALATE_S = 5.0
"""With --now, between asking, SIGTERM and SIGKILL."""
_ANSWER_S, _ANSWER_NOW_S = 10.0, 2.0
"""How long it may take to answer before it is ended by signal; the latter with --now."""


def down(
    context: typer.Context,
    drain: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Time that live prompts have to end; host.drain_s without it.", show_default=False
        ),
    ] = None,
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
    end = _End(around, now=now)
    drain_s = None if drain is None else seconds(drain, "--drain")
    end.ask(0.0 if now else drain_s)
    say("the daemon has stopped")


class _End:
    """One daemon's end, asked for and waited for."""

    def __init__(self, around: Surroundings, *, now: bool) -> None:
        self._around = around
        self._now = now
        self._answers = True

    def ask(self, drain_s: float | None) -> None:
        """Have it end, over the socket or else by signal, and wait. Raises UnreachableError if there is none, and
        StartError if it does not end."""
        try:
            with self._around.client(_ANSWER_NOW_S if self._now else _ANSWER_S) as client:
                pid = client.snapshot().pid
                given_s = client.shutdown(drain_s)
        except UnreachableError:
            pid, given_s = self._signal_instead(), _DRAIN_S if drain_s is None else drain_s
        if self._gone(pid, _ESCALATE_S if self._now else given_s + _GRACE_S) or (self._now and self._killed(pid)):
            return
        raise StartError(f"the daemon (pid {pid}) still runs; end it with: aquahost down --now")

    def _signal_instead(self) -> int:
        self._answers = False
        pid = living_daemon(self._around.env)
        if pid is None:
            raise UnreachableError(f"no daemon runs (none answers at {self._around.socket()})")
        say(f"the daemon (pid {pid}) does not answer; ending it by signal")
        _signal(pid, signal.SIGTERM)
        return pid

    def _killed(self, pid: int) -> bool:
        for number in (signal.SIGTERM, signal.SIGKILL) if self._answers else (signal.SIGKILL,):
            say(f"the daemon (pid {pid}) does not end; sending {number.name}")
            _signal(pid, number)
            if self._gone(pid, _ESCALATE_S):
                return True
        return False

    def _gone(self, pid: int, within_s: float) -> bool:
        """Wait for the process to end, saying how many prompts it waits for."""
        deadline_s = self._around.now_s() + within_s
        said: int | None = None
        while lives(pid):
            if self._around.now_s() > deadline_s:
                return False
            left = self._prompts_left()
            if left and left != said:
                say(f"draining: {left} live prompt{'s' if left > 1 else ''}")
                said = left
            self._around.sleep(_LOOK_EVERY_S)
        return True

    def _prompts_left(self) -> int | None:
        if not self._answers:
            return None
        try:
            with self._around.client(timeout_s=1.0) as client:
                return len(client.snapshot().prompts)
        except AquahostError:
            return None  # it is on its way out


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
