"""A prompt with four times more KV than local memory: attention reads three quarters of it in place, over a link."""

from __future__ import annotations

import statistics
import time

from aquahost.bench.figures import Figure, at_least
from aquahost.bench.lent_engine import LentEngine, lent_engine
from aquahost.bench.tiny_llama import KV_BYTES_PER_TOKEN, VOCABULARY
from aquahost.messages.prompts import Tokens
from aquahost.units import MIB

_INPUT_TOKENS = 1900
_OUTPUT_TOKENS = 128
_LOCAL_BYTES = 2 * MIB
_REMOTE_BYTES = (_INPUT_TOKENS + _OUTPUT_TOKENS) * KV_BYTES_PER_TOKEN - _LOCAL_BYTES
_LINK_RATIO = 10
_GPU_BYTES = 256 * MIB
_RUNS = 3


def measure_long_prompt() -> list[Figure]:
    """Decode tokens/s with the tail of the KV on a neighbour and in host memory, as a ratio, in one run.

    Link rates are set so that reading the remote KV from a neighbour takes as long as a step with everything local:
    that is how it is on an H100 with OPT-30B, 8,192 tokens of 1.34 MiB each and 3/4 of them on a neighbour (8.4 GB at
    450 GB/s: 19 ms; 60 GB of weights and 2.8 GB of KV at 3.35 TB/s: 19 ms). The host's link is ten times slower.
    """
    rates: dict[str, list[float]] = {"local": [], "peer": [], "host": []}
    for _ in range(_RUNS):
        local = _run("local", 1e12, 1e12)
        peer_bytes_per_s = _REMOTE_BYTES * local
        rates["local"].append(local)
        for tier in ("peer", "host"):
            rates[tier].append(_run(tier, peer_bytes_per_s, peer_bytes_per_s / _LINK_RATIO))
    ratio = statistics.median(peer / host for peer, host in zip(rates["peer"], rates["host"], strict=True))
    note = ", ".join(f"{tier} {statistics.median(values):.1f}" for tier, values in rates.items()) + " tokens/s"
    return [at_least("long prompt, tail on a neighbour ÷ tail in host memory", ratio, "x", 4.0, note=note)]


def _run(tier: str, peer_bytes_per_s: float, host_bytes_per_s: float) -> float:
    """Decode tokens/s."""
    local_bytes = 5 * _LOCAL_BYTES if tier == "local" else _LOCAL_BYTES
    model = {
        "kv_bytes": local_bytes,
        "borrow_bytes": 4 * _LOCAL_BYTES if tier == "peer" else 0,
        "host_kv_bytes": 4 * _LOCAL_BYTES,
    }
    links = {"peer_bytes_per_s": peer_bytes_per_s, "host_bytes_per_s": host_bytes_per_s}
    with lent_engine(gpus=2, gpu_bytes=_GPU_BYTES, model=model, links=links) as lent:
        lent.submit("long", [i * 7 % (VOCABULARY - 2) + 2 for i in range(_INPUT_TOKENS)], _OUTPUT_TOKENS)
        rate = _decode_rate(lent)
        moved = {(one.source, one.target) for one in lent.engine.stats().paged}
    if moved - {("host", "peer")}:
        raise RuntimeError(f"the prompt was to stay where it was, but blocks went {moved}")
    return rate


def _decode_rate(lent: LentEngine) -> float:
    came_s: list[float] = []
    while lent.engine.has_work():
        outputs = lent.round()
        came_s += [time.perf_counter() for output in outputs if isinstance(output, Tokens)]
    # From the second quarter on: by then what was prefilled into host memory lies on the neighbour.
    begin = len(came_s) // 4
    return (len(came_s) - 1 - begin) / (came_s[-1] - came_s[begin])
