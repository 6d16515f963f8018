"""A burst of streamed prompts over HTTP against one language model, and one stream alone."""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

from aquahost.bench.figures import Figure, at_least
from aquahost.bench.http_stream import StreamTimes, stream
from aquahost.bench.private_daemon import private_daemon
from aquahost.bench.tiny_llama import KV_BYTES_PER_TOKEN, VOCABULARY, make_tiny_llama

_PROMPTS = 64
_INPUT_TOKENS = (64, 512)
_OUTPUT_TOKENS = 128
_ARRIVE_WITHIN_S = 1.0
_KV_PROMPTS = 12
"""Prompts of mean length that the KV memory has room for, as peers were measured with 8 to 16."""
_BEST_PEER_BURST = 800.0
_BEST_PEER_SINGLE = 960.0


def measure_serving() -> list[Figure]:
    """Output tokens/s of 64 prompts (64 to 512 tokens in, 128 out) within a second, and of a single stream."""
    mean_tokens = sum(_INPUT_TOKENS) / 2 + _OUTPUT_TOKENS
    kv_bytes = int(_KV_PROMPTS * mean_tokens * KV_BYTES_PER_TOKEN)
    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as folder:
        make_tiny_llama(Path(folder))
        models = f"models:\n  tiny: {{kind: llm, source: {folder}, kv_bytes: {kv_bytes}, max_context: 1024}}\n"
        with private_daemon(models) as daemon:
            asyncio.run(_burst(daemon.port, seed=1, prompts=16))  # warm
            bursts = [asyncio.run(_burst(daemon.port, seed=seed, prompts=_PROMPTS)) for seed in (2, 3, 4)]
            singles = [asyncio.run(_single(daemon.port, seed)) for seed in range(5)]
    burst = statistics.median(rate for rate, _ in bursts)
    ttft_s = statistics.median(max(reply.ttft_s for reply in replies) for _, replies in bursts)
    peers = "best peer: llama.cpp server, 8 slots, on a comparable machine"
    return [
        at_least("burst of 64 prompts, output", burst, "tokens/s", _BEST_PEER_BURST, note=peers),
        Figure(name="burst of 64 prompts, slowest time to first token", value=ttft_s, unit="s"),
        at_least("single stream", statistics.median(singles), "tokens/s", _BEST_PEER_SINGLE, note=peers),
    ]


def _prompt(generator: random.Random, input_tokens: int) -> dict[str, object]:
    ids = [generator.randrange(2, VOCABULARY) for _ in range(input_tokens)]
    return {"model": "tiny", "prompt": ids, "max_tokens": _OUTPUT_TOKENS, "temperature": 0, "ignore_eos": True}


async def _burst(port: int, seed: int, prompts: int) -> tuple[float, list[StreamTimes]]:
    generator = random.Random(seed)
    calls = [
        stream(
            "127.0.0.1",
            port,
            "/v1/completions",
            _prompt(generator, generator.randint(*_INPUT_TOKENS)),
            generator.uniform(0, _ARRIVE_WITHIN_S),
        )
        for _ in range(prompts)
    ]
    began = time.perf_counter()
    replies = await asyncio.gather(*calls)
    took_s = time.perf_counter() - began
    return sum(reply.output_tokens for reply in replies) / took_s, list(replies)


async def _single(port: int, seed: int) -> float:
    """Tokens/s of one stream between its first and its last token."""
    reply = await stream("127.0.0.1", port, "/v1/completions", _prompt(random.Random(seed), 64))
    return (reply.output_tokens - 1) / (reply.chunk_s[-1] - reply.chunk_s[0])
