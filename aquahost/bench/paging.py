"""How fast the language engine's pager carries a prompt's KV state out and in, against what the link carries."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aquahost.bench.figures import Figure, at_least
from aquahost.clock import SystemClock
from aquahost.config.settings import Kind, LeasingSettings, ModelSettings
from aquahost.engines.memory_desk import MemoryDesk
from aquahost.messages.memory import Claim, ClaimSettled, MemoryInstruction, MemoryReport
from aquahost.units import GIB, MIB

if TYPE_CHECKING:
    from aquahost.engines.llm.kv_memory import KvMemory
    from aquahost.engines.llm.pager import Pager

_PROMPT_TOKENS = 4096
_BLOCK_TOKENS = 16
_KV_BYTES = 512 * MIB
"""The prompt's, at 2 MiB a block."""
_SHARE = 0.9
_ROUNDS = 5
_POLL_S = 0.5e-3  # far below what the copies take, as a step of the engine is
# What this machine's memory does is several times as much, so that a copy takes as long as its modelled link says.
_RATES = {"peer": 1.0e9, "host": 0.5e9}


def measure_paging() -> list[Figure]:
    """The rate of a 4,096-token prompt of a model shaped as Llama-3.1-8B, from the call until the pager says that it
    has arrived, as a share of the emulated link's rate: to leased memory of a neighbour and to the host's.
    """
    figures = []
    for tier, name in (("peer", "a neighbour"), ("host", "the host")):
        with _prompt(tier) as prompt:
            prompt.page_out(), prompt.page_in()  # touches all memory, and maps the host's
            rounds = [(prompt.page_out(), prompt.page_in()) for _ in range(_ROUNDS)]
        for way, rates in zip(("out to", "in from"), zip(*rounds, strict=True), strict=True):
            figures.append(_figure(f"{way} {name}", rates, _RATES[tier]))
    return figures


class _PagedPrompt:
    """A prompt that does nothing but go out and come back."""

    def __init__(self, memory: KvMemory, pager: Pager) -> None:
        from aquahost.engines.llm.residence import Residence
        from aquahost.engines.llm.tiers import Tier

        self._memory, self._pager = memory, pager
        self._residence = Residence()
        self._residence.append(memory.pool.allocate(memory.layout.blocks_for(_PROMPT_TOKENS), Tier.LOCAL))

    def page_out(self) -> float:
        """Bytes per second; every block is written, none was saved before."""
        self._memory.pool.release(self._residence.drop_copies())
        began = time.perf_counter()
        self._pager.page_out("prompt", self._residence, _PROMPT_TOKENS)
        return self._arrive(began)

    def page_in(self) -> float:
        """Bytes per second; every block is read."""
        began = time.perf_counter()
        self._pager.page_in("prompt", self._residence, _PROMPT_TOKENS, len(self._residence.blocks))
        return self._arrive(began)

    def _arrive(self, began: float) -> float:
        while not self._pager.poll():
            time.sleep(_POLL_S)
        return len(self._residence.blocks) * self._memory.block_bytes / (time.perf_counter() - began)


@contextmanager
def _prompt(tier: str) -> Iterator[_PagedPrompt]:
    """A prompt in local memory, with room for just as much in one other tier."""
    import torch

    from aquahost.engines.device import EngineDevice
    from aquahost.engines.llm.kv_layout import KvLayout
    from aquahost.engines.llm.kv_memory import KvMemory
    from aquahost.engines.llm.pager import Pager
    from aquahost_cuda.driver import EmulatedNode, load

    layout = KvLayout(layers=32, block_tokens=_BLOCK_TOKENS, kv_heads=8, head_dim=128, dtype=torch.bfloat16)
    settings = ModelSettings(
        kind=Kind.LLM,
        source="none",
        kv_bytes=_KV_BYTES,
        borrow_bytes=_KV_BYTES if tier == "peer" else 0,
        host_kv_bytes=_KV_BYTES if tier == "host" else 0,
    )
    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as folder:
        rates = {f"{place}_bytes_per_s": rate for place, rate in _RATES.items()}
        node = EmulatedNode(path=folder, gpus=2, gpu_bytes=GIB, **rates)  # type: ignore[arg-type]
        desk = MemoryDesk(LeasingSettings(), SystemClock(), exchange=_settle)
        device = EngineDevice(load("emulated", node), 0, desk)
        memory = KvMemory(device, layout, settings)
        try:
            if tier == "peer":
                memory.map_lease(1, 1, _KV_BYTES, 0.0)
            yield _PagedPrompt(memory, Pager(memory, device, list))
        finally:
            memory.close()
            device.close()


def _settle(reports: list[MemoryReport]) -> list[MemoryInstruction]:
    """A broker that grants every claim."""
    return [ClaimSettled(report.nbytes) for report in reports if isinstance(report, Claim)]


def _figure(way: str, rates: tuple[float, ...], link_bytes_per_s: float) -> Figure:
    rate = statistics.median(rates)
    return at_least(
        f"pager: a prompt of {_PROMPT_TOKENS:,} tokens {way} ÷ link rate",
        rate / link_bytes_per_s,
        "x",
        _SHARE,
        note=f"{rate / 1e9:.3f} of {link_bytes_per_s / 1e9:.1f} GB/s, an emulated link set far below this machine's "
        f"memory; {_KV_BYTES // MIB} MiB in blocks of 2 MiB",
    )
