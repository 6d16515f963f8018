"""What a language model's steps take beside weights and KV, measured at load."""

from __future__ import annotations

import numpy as np
import torch

from aquahost.engines.llm.batch import ChunkInput, pack
from aquahost.engines.llm.block_tables import BlockTables
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost.engines.llm.runner import ModelRunner
from aquahost.engines.llm.sampler import SamplerState, sample
from aquahost.engines.peak_memory import measuring
from aquahost.messages.prompts import Sampling


def measure_step_bytes(
    runner: ModelRunner,
    tables: BlockTables,
    memory: KvMemory,
    device: torch.device,
    *,
    context: int,
    step_tokens: int,
    vocabulary: int,
) -> int:
    """The most that the two widest steps take: a chunk of `step_tokens` at the end of a whole context, and a token of
    each of as many prompts as there are slots, sampled.

    The first local blocks stand for all that these prompts would have; what is written there is read by nobody. The
    tables are afterwards as they were.
    """
    slots = [tables.acquire() for _ in range(len(tables.counts))]
    try:
        columns = memory.layout.blocks_for(context)
        stand_ins = [index % memory.local_blocks for index in range(columns)]
        tables.append(slots[0], stand_ins)
        chunk = min(step_tokens, context)
        tables.computed[slots[0]] = context - chunk
        with torch.inference_mode():
            with measuring(device) as wide:
                inputs = [ChunkInput(slot=slots[0], token_ids=[0] * chunk, completes=True)]
                runner.forward(pack(tables, memory.layout, device, np.empty(0, dtype=np.int64), inputs))
            for slot in slots[1:]:
                tables.append(slot, stand_ins[:1])
            tables.computed[slots[0]] = 0
            rules = Sampling(top_p=0.9, seed=0)
            states = [SamplerState(rules, [0], vocabulary, device) for _ in slots]
            with measuring(device) as many:
                logits = runner.forward(pack(tables, memory.layout, device, np.array(slots, dtype=np.int64), []))
                sample(logits, states)
        return max(wide.peak_bytes(), many.peak_bytes())
    finally:
        for slot in reversed(slots):
            tables.release(slot)
        if device.type == "cuda":
            torch.cuda.empty_cache()  # it is claimed only once prompts come
