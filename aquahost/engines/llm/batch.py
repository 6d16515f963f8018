"""A step's work as tensors: the tokens of all prompts packed one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from aquahost.engines.llm.block_tables import BlockTables, Ints
from aquahost.engines.llm.kv_layout import KvLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRows:
    """One prefill chunk: the packed tokens first … first+count-1 are a prompt's positions start … start+count-1."""

    slot: int
    first: int
    start: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """Decode tokens first, in the order of `decode_slots`, then the chunks' tokens."""

    input_ids: torch.Tensor
    """[1, tokens]"""
    position_ids: torch.Tensor
    """[1, tokens]"""
    rows: torch.Tensor
    """[tokens] token rows of the arena that the step writes."""
    decode_slots: Ints
    decode_lengths: Ints
    """Positions each decode token attends to, its own included; ascending."""
    chunks: list[ChunkRows]
    outputs: torch.Tensor | None
    """Packed tokens whose logits are wanted; None is every token."""

    @property
    def tokens(self) -> int:
        """Tokens of the step."""
        return self.input_ids.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkInput:
    """A prefill chunk to be packed."""

    slot: int
    token_ids: list[int]
    completes: bool
    """Whether the chunk's last token's logits are wanted."""


def pack(
    tables: BlockTables, layout: KvLayout, device: torch.device, decode_slots: Ints, chunks: list[ChunkInput]
) -> PackedBatch:
    """Pack a step. `decode_slots` must be in ascending order of their computed lengths."""
    starts = tables.computed
    ids, slots, positions = [tables.last_tokens[decode_slots]], [decode_slots], [starts[decode_slots]]
    rows: list[ChunkRows] = []
    outputs = list(range(len(decode_slots)))
    first = len(decode_slots)
    for chunk in chunks:
        count, start = len(chunk.token_ids), int(starts[chunk.slot])
        ids.append(np.array(chunk.token_ids, dtype=np.int64))
        slots.append(np.full(count, chunk.slot, dtype=np.int64))
        positions.append(np.arange(start, start + count, dtype=np.int64))
        rows.append(ChunkRows(slot=chunk.slot, first=first, start=start, count=count))
        first += count
        if chunk.completes:
            outputs.append(first - 1)
    packed_ids, slot, position = (a[0] if len(a) == 1 else np.concatenate(a) for a in (ids, slots, positions))
    block, offset = np.divmod(position, layout.block_tokens)
    token_rows = tables.blocks[slot, block] * layout.token_rows + offset
    everything = len(outputs) == first
    return PackedBatch(
        input_ids=torch.from_numpy(packed_ids).to(device)[None],
        position_ids=torch.from_numpy(position).to(device)[None],
        rows=torch.from_numpy(token_rows).to(device),
        decode_slots=decode_slots,
        decode_lengths=starts[decode_slots] + 1,
        chunks=rows,
        outputs=None if everything else torch.tensor(outputs, dtype=torch.int64, device=device),
    )
