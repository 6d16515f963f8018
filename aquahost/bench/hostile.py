"""What slow, silent and hostile clients cost the others: times to first token of a daemon that has them, against those
of one that has none, in the same seconds: whatever else keeps the machine busy does so to both.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aquahost.bench.figures import Figure, at_most
from aquahost.bench.hostile_clients import KINDS
from aquahost.bench.http_stream import Server
from aquahost.bench.private_daemon import PrivateDaemon, private_daemon
from aquahost.bench.process import cpu_s
from aquahost.errors import StartError

_MODELS = """models:
  toy: {kind: toy, toy: {load_s: 0, step_s: 10ms}}
  flood: {kind: toy, toy: {load_s: 0, step_s: 50ms}}
"""
_CLIENTS = 6
_TOKENS = 8
_PAUSE_S = 0.02
_ROUNDS = 6
_WINDOW_S = 5.0
_MOST = 1.2


def measure_hostile() -> list[Figure]:
    """p99 of well-behaved clients' times to first token beside each kind of hostile client, over that without any.

    Each round measures every kind; the two daemons take turns at having the hostile clients. A kind's figure is the
    median of its rounds' ratios.
    """
    rounds: dict[str, list[_Round]] = {kind: [] for kind in KINDS}
    with private_daemon(_MODELS) as one, private_daemon(_MODELS) as other:
        asyncio.run(_both_times_s(one.port, other.port))  # warm
        for number, kind in itertools.product(range(_ROUNDS), KINDS):
            calm, beset = (one, other) if number % 2 else (other, one)
            with _hostile_clients(kind, beset):
                rounds[kind].append(_measured(calm, beset))
    return [_figure(kind, rounds[kind]) for kind in KINDS]


@dataclass(frozen=True, slots=True)
class _Round:
    """Times to first token of both daemons, and the beset one's share of a core beyond the calm one's."""

    calm_s: list[float]
    beset_s: list[float]
    cores: float


def _measured(calm: PrivateDaemon, beset: PrivateDaemon) -> _Round:
    began_s, before_s = time.monotonic(), cpu_s(beset.pid) - cpu_s(calm.pid)
    calm_s, beset_s = asyncio.run(_both_times_s(calm.port, beset.port))
    more_s = cpu_s(beset.pid) - cpu_s(calm.pid) - before_s
    return _Round(calm_s, beset_s, more_s / (time.monotonic() - began_s))


def _figure(kind: str, rounds: list[_Round]) -> Figure:
    calm_s = [time_s for each in rounds for time_s in each.calm_s]
    beset_s = [time_s for each in rounds for time_s in each.beset_s]
    ratios = [_p99(each.beset_s) / _p99(each.calm_s) for each in rounds]
    note = (
        f"p99 {_p99(beset_s) * 1e3:.1f} ms against {_p99(calm_s) * 1e3:.1f} ms, p50 "
        f"{statistics.median(beset_s) * 1e3:.1f} against {statistics.median(calm_s) * 1e3:.1f} ms, of {len(beset_s)} "
        f"prompts; rounds {min(ratios):.2f} to {max(ratios):.2f}; "
        f"{statistics.median(each.cores for each in rounds) * 100:+.1f} % of a core"
    )
    what = f"p99 time to first token beside {KINDS[kind].clients} {KINDS[kind].about}"
    return at_most(what, statistics.median(ratios), "x", _MOST, note=note)


def _p99(times_s: list[float]) -> float:
    return statistics.quantiles(times_s, n=100)[98]


async def _both_times_s(calm_port: int, beset_port: int) -> tuple[list[float], list[float]]:
    return await asyncio.gather(_times_s(calm_port), _times_s(beset_port))


async def _times_s(port: int) -> list[float]:
    """Times to first token of a few clients that ask again and again for `_WINDOW_S`."""
    server = Server(host="127.0.0.1", port=port, path="/v1/chat/completions")
    body = {"model": "toy", "messages": [{"role": "user", "content": "hello"}], "max_tokens": _TOKENS}
    request = server.request(body)
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + _WINDOW_S
    times_s: list[float] = []

    async def client() -> None:
        while loop.time() < ends_s:
            times_s.append((await server.exchange(request)).ttft_s)
            await asyncio.sleep(_PAUSE_S)

    await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    return times_s


@contextmanager
def _hostile_clients(kind: str, daemon: PrivateDaemon) -> Iterator[None]:
    """Hostile clients at work; gone at the end. Raises StartError if they do not come up."""
    command = [sys.executable, "-m", "aquahost.bench.hostile_clients", kind, str(daemon.port)]
    with subprocess.Popen(command, env=dict(daemon.env), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != b"ready\n":
                raise StartError(f"the {kind} clients did not start")
            yield
        finally:
            process.stdin.close()
