"""What slow, silent and hostile clients cost the others: time to first token beside them, against without them."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from aquahost.bench.figures import Figure, at_most
from aquahost.bench.hostile_clients import KINDS
from aquahost.bench.http_stream import Server
from aquahost.bench.private_daemon import PrivateDaemon, private_daemon
from aquahost.errors import StartError

_MODELS = """models:
  toy: {kind: toy, toy: {load_s: 0, step_s: 10ms}}
  flood: {kind: toy, toy: {load_s: 0, step_s: 50ms}}
"""
_CLIENTS = 8
_TOKENS = 8
_PAUSE_S = 0.02
_ROUNDS = 5
_WINDOW_S = 5.0
_MOST = 1.2


def measure_hostile() -> list[Figure]:
    """p99 of well-behaved clients' times to first token beside each kind of hostile client, over that without any.

    Each round measures every kind, and the calm before it; a kind's figure is the median of its rounds' ratios.
    """
    calm: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    beside: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    with private_daemon(_MODELS) as daemon:
        asyncio.run(_times_s(daemon.port))  # warm
        for _, kind in itertools.product(range(_ROUNDS), KINDS):
            calm[kind].append(asyncio.run(_times_s(daemon.port)))
            with _hostile_clients(kind, daemon):
                beside[kind].append(asyncio.run(_times_s(daemon.port)))
    return [_figure(kind, calm[kind], beside[kind]) for kind in KINDS]


def _figure(kind: str, calm: list[list[float]], beside: list[list[float]]) -> Figure:
    ratios = [_p99(after) / _p99(before) for before, after in zip(calm, beside, strict=True)]
    before_ms, after_ms = (_p99(list(itertools.chain(*rounds))) * 1e3 for rounds in (calm, beside))
    spread = f"rounds {min(ratios):.2f} to {max(ratios):.2f}"
    note = f"p99 {after_ms:.1f} ms against {before_ms:.1f} ms of {sum(map(len, beside))} prompts; {spread}"
    what = f"p99 time to first token beside {KINDS[kind].clients} {KINDS[kind].about}"
    return at_most(what, statistics.median(ratios), "x", _MOST, note=note)


def _p99(times_s: list[float]) -> float:
    return statistics.quantiles(times_s, n=100)[98]


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
