"""Proof at load that paged attention gives what the model's own attention gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from aquahost.engines.llm.batch import ChunkInput, PackedBatch, pack
from aquahost.engines.llm.block_tables import BlockTables
from aquahost.engines.llm.kv_cache import KvCache
from aquahost.engines.llm.kv_layout import KvLayout
from aquahost.engines.llm.paged_attention import ATTENTION_NAME, UnsupportedAttentionError
from aquahost.engines.llm.runner import ModelRunner
from aquahost.errors import LoadError

PROBE_TOKENS = 24
LONGEST_PROBE_TOKENS = 320
"""Windows beyond this length are taken on trust: running past them would take too long at load."""

_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 8e-2, torch.float16: 2e-2}
"""Largest difference allowed, as a share of the logits' spread."""


def probe(
    model: Any,
    runner: ModelRunner,
    tables: BlockTables,
    cache: KvCache,
    device: torch.device,
    *,
    max_context: int,
    window: int | None,
) -> None:
    """Run two random prompts packed together, in chunks and with decodes, and compare with the ordinary forward.

    One goes past `window`, the smallest one, if `max_context` and the time allow it. Uses the first KV blocks and two
    slots (one prompt where there is no room for two), and leaves the tables as they were. Raises LoadError if the
    logits differ or the paged forward fails.
    """
    layout = cache.layout
    long = PROBE_TOKENS + 2 * layout.block_tokens
    if window is not None and window + layout.block_tokens + 8 <= LONGEST_PROBE_TOKENS:
        long = max(long, window + layout.block_tokens + 8)
    longest = min(tables.blocks.shape[1] * layout.block_tokens, max_context)
    lengths = [min(long, longest), min(PROBE_TOKENS, longest)][: len(tables.counts)]
    if sum(layout.blocks_for(n) for n in lengths) > cache.blocks:
        del lengths[1:]
    generator = torch.Generator().manual_seed(1)
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    prompts = [torch.randint(vocabulary, (n,), generator=generator).tolist() for n in lengths]
    expected = _ordinary(model, prompts, device)
    try:
        found = _paged(runner, tables, layout, device, prompts)
    except UnsupportedAttentionError as error:
        raise LoadError(f"{type(model).__name__} cannot be served: {error}") from error
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise  # no fault of the model
    except (TypeError, AttributeError, RuntimeError, ValueError, IndexError, KeyError) as error:
        raise LoadError(f"{type(model).__name__} cannot be served: its forward fails with ours: {error}") from error
    _compare(type(model).__name__, expected, found, layout.dtype)


def _ordinary(model: Any, prompts: list[list[int]], device: torch.device) -> list[torch.Tensor]:
    """Per prompt the logits [outputs, vocabulary] after each of its `_cuts`."""
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            return [
                model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, _cuts(i, ids)].float()
                for i, ids in enumerate(prompts)
            ]
    finally:
        model.set_attn_implementation(ATTENTION_NAME)


def _cuts(prompt: int, ids: list[int]) -> list[int]:
    """Positions whose logits `_paged` returns: ends of the first prompt's chunks and decode, the others' last two."""
    return [len(ids) // 2 - 1, -2, -1] if prompt == 0 else [-2, -1]


def _paged(
    runner: ModelRunner, tables: BlockTables, layout: KvLayout, device: torch.device, prompts: list[list[int]]
) -> list[torch.Tensor]:
    """The same through the arena: a chunk of the first; its second chunk beside all of the other; one decode each."""
    slots = [tables.acquire() for _ in prompts]
    try:
        block = 0
        for slot, ids in zip(slots, prompts, strict=True):
            count = layout.blocks_for(len(ids))
            tables.append(slot, list(range(block, block + count)))
            block += count
        first, rest = prompts[0], prompts[1:]
        half = len(first) // 2
        early = _run(runner, tables, layout, device, [(slots[0], first[:half], True)])
        chunks = [(slots[0], first[half:-1], True)]
        chunks += [(slot, ids[:-1], True) for slot, ids in zip(slots[1:], rest, strict=True)]
        before = _run(runner, tables, layout, device, chunks)
        for slot, ids in zip(slots, prompts, strict=True):
            tables.last_tokens[slot] = ids[-1]
        order = np.array(sorted(slots, key=lambda slot: int(tables.computed[slot])))
        with torch.inference_mode():
            decoded = runner.forward(pack(tables, layout, device, order, []))
        after = {int(slot): row for slot, row in zip(order, decoded, strict=True)}
        found = [torch.stack([row, after[slot]]) for row, slot in zip(before, slots, strict=True)]
        found[0] = torch.cat([early, found[0]])
        return found
    finally:
        for slot in reversed(slots):
            tables.release(slot)


def _run(
    runner: ModelRunner,
    tables: BlockTables,
    layout: KvLayout,
    device: torch.device,
    chunks: list[tuple[int, list[int], bool]],
) -> torch.Tensor:
    inputs = [ChunkInput(slot=slot, token_ids=ids, completes=completes) for slot, ids, completes in chunks]
    batch: PackedBatch = pack(tables, layout, device, np.empty(0, dtype=np.int64), inputs)
    with torch.inference_mode():
        logits = runner.forward(batch)
    for slot, ids, _ in chunks:
        tables.computed[slot] += len(ids)
    return logits


def _compare(name: str, expected: list[torch.Tensor], found: list[torch.Tensor], dtype: torch.dtype) -> None:
    for want, have in zip(expected, found, strict=True):
        if not torch.isfinite(want).all():
            raise LoadError(f"{name} cannot be served: its own logits are not finite; its weights may be damaged")
        spread = float(want.max() - want.min()) or 1.0
        share = float((want - have).abs().max()) / spread
        if not share <= _TOLERANCE.get(dtype, 1e-4):
            raise LoadError(
                f"{name} cannot be served: with paged attention its logits differ from its own by {share:.1%} of "
                "their spread; its attention does something that ours does not know of"
            )
