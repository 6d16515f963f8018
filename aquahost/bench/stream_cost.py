"""What a streamed token costs the daemon: CPU time of its process, with a toy model behind it."""

from __future__ import annotations

import asyncio

from aquahost.bench.figures import Figure, at_most
from aquahost.bench.http_stream import StreamTimes, stream
from aquahost.bench.private_daemon import PrivateDaemon, private_daemon
from aquahost.bench.process import cpu_s

_STREAMS = 64
_TOKENS = 400
_TOY = "models:\n  toy: {kind: toy, toy: {load_s: 0, step_s: 10ms}}\n"


def measure_stream_cost() -> list[Figure]:
    """CPU microseconds of the daemon's process for one token, over 64 concurrent streams at 100 tokens/s each."""
    with private_daemon(_TOY) as daemon:
        asyncio.run(_burst(daemon))  # connections, code paths and caches warm
        before_s = cpu_s(daemon.pid)
        replies = asyncio.run(_burst(daemon))
        spent_s = cpu_s(daemon.pid) - before_s
    tokens = sum(reply.output_tokens for reply in replies)
    cost_us = spent_s / tokens * 1e6
    chunks = sum(len(reply.chunk_s) for reply in replies)
    return [
        at_most(
            f"daemon CPU for a streamed token, {_STREAMS} streams", cost_us, "us", 150,
            note=f"{tokens} tokens in {chunks} chunks; requests, routing and connections included",
        )
    ]  # fmt: skip


async def _burst(daemon: PrivateDaemon) -> list[StreamTimes]:
    body = {"model": "toy", "messages": [{"role": "user", "content": "hello"}], "max_tokens": _TOKENS}
    calls = (stream("127.0.0.1", daemon.port, "/v1/chat/completions", body) for _ in range(_STREAMS))
    return await asyncio.gather(*calls)
