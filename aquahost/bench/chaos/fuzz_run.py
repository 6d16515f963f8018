"""`aquahost chaos bytes`: bytes that no client should send, on the TCP port and on the Unix socket."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from aquahost.bench.chaos.asks import make_asks
from aquahost.bench.chaos.crowd import expected_replies
from aquahost.bench.chaos.exchange import CutOffError, FailedError, RefusedError
from aquahost.bench.chaos.fuzz_inputs import fuzz_input
from aquahost.bench.chaos.host import ChaosHost
from aquahost.bench.chaos.models import write_models
from aquahost.bench.chaos.report import Check, Report, none_of, times
from aquahost.bench.chaos.rest import checks_at_rest, come_to_rest
from aquahost.bench.private_daemon import private_daemon

_STATUS = re.compile(rb"(?:\A|\r\n)HTTP/1\.[01] (\d{3}) ")
_SILENCE_S = 0.3
"""A daemon that says nothing for so long waits for more, and gets none."""
_AFTERWARDS_S = 0.02
"""Time for more of a reply, once some of it has come."""
_CONNECT_S = 30.0
_ASK_EVERY = 5_000
"""Inputs between two looks at whether prompts are answered as before."""
_KEPT = 10


class Fuzzer:
    """Sends inputs over many connections at once, and counts what comes back."""

    def __init__(self, host: ChaosHost, seed: int) -> None:
        self._host, self._seed = host, seed
        self.statuses: Counter[int] = Counter()
        self.unanswered = 0
        """Inputs that were answered by hanging up, or not at all."""
        self.bad: list[str] = []
        """Inputs answered with 5xx, and how."""
        self.not_connected: list[str] = []
        self.took_s: list[float] = []
        self._numbers: Iterator[int] = iter(())

    async def run(self, inputs: range, connections: int) -> None:
        """Send the inputs of these numbers. A number gives the same input in every run of the seed."""
        self._numbers = iter(inputs)
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(self._connection())

    async def _connection(self) -> None:
        for number in self._numbers:
            generator = random.Random(f"{self._seed}/{number}")
            data = fuzz_input(generator)
            began_s = time.monotonic()
            try:
                said = await self._send(data, generator)
            except (OSError, TimeoutError) as error:
                self.not_connected.append(f"input {number}: {type(error).__name__}: {error}")
                continue
            self.took_s.append(time.monotonic() - began_s)
            statuses = [int(status) for status in _STATUS.findall(said)]
            self.statuses.update(statuses)
            self.unanswered += not statuses
            if any(status >= 500 for status in statuses):
                self.bad.append(f"input {number}: {data[:200]!r} was answered with {said[:200]!r}")

    async def _send(self, data: bytes, generator: random.Random) -> bytes:
        async with asyncio.timeout(_CONNECT_S):
            if generator.random() < 0.5:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._host.port)
            else:
                reader, writer = await asyncio.open_unix_connection(str(self._host.socket))
        said = bytearray()
        try:
            # The daemon may hang up before it has read everything.
            with suppress(ConnectionError, TimeoutError):
                cut = generator.randrange(len(data) + 1) if generator.random() < 0.3 else len(data)
                writer.write(data[:cut])
                await writer.drain()
                if cut < len(data):
                    await asyncio.sleep(0)
                    writer.write(data[cut:])
                wait_s = _SILENCE_S
                while part := await asyncio.wait_for(reader.read(65536), wait_s):
                    said += part
                    wait_s = _AFTERWARDS_S
        finally:
            writer.transport.abort()
        return bytes(said)


def run_bytes(*, inputs: int, connections: int, seed: int, say: Callable[[str], None]) -> Report:
    """Send so many inputs to a daemon of toys. Raises StartError if that does not come up."""
    with tempfile.TemporaryDirectory(prefix="aquahost-chaos.") as folder:
        models = write_models(Path(folder), toys_only=True)
        with private_daemon(models) as daemon:
            return asyncio.run(_run(ChaosHost(daemon, models), inputs, connections, seed, say))


async def _run(host: ChaosHost, inputs: int, connections: int, seed: int, say: Callable[[str], None]) -> Report:
    began_s = time.monotonic()
    asks = make_asks({"toy": "toy"}, seed)
    expected = await expected_replies(host, asks, connections)
    first = await come_to_rest(host)
    pids = [model.pid for model in (await host.snapshot()).models]
    fuzzer = Fuzzer(host, seed)
    odd: list[str] = []
    for begin in itertools.count(0, _ASK_EVERY):
        if begin >= inputs:
            break
        await fuzzer.run(range(begin, min(begin + _ASK_EVERY, inputs)), connections)
        try:
            if await expected_replies(host, asks, connections) != expected:
                odd.append(f"after {begin + _ASK_EVERY} inputs a prompt is answered otherwise than before")
        except (FailedError, CutOffError, RefusedError) as error:
            odd.append(f"after {begin + _ASK_EVERY} inputs: {error}")
        say(f"{min(begin + _ASK_EVERY, inputs):,} inputs sent")
    died = [model.name for model in (await host.snapshot()).models if model.pid not in pids]
    counts = {str(status): count for status, count in sorted(fuzzer.statuses.items())}
    return Report(
        counts={"inputs": inputs, **counts, "answered by hanging up or waiting": fuzzer.unanswered},
        checks=[
            Check(name="status 5xx", found=len(fuzzer.bad), details=fuzzer.bad[:_KEPT]),
            Check(name="no connection", found=len(fuzzer.not_connected), details=fuzzer.not_connected[:_KEPT]),
            none_of("other prompts disturbed", odd),
            none_of("workers that died", died),
            *await checks_at_rest(host, first),
        ],
        times=[times("input → its answer or silence", fuzzer.took_s)],
        took_s=time.monotonic() - began_s,
    )
