"""Attention by gathering each prompt's blocks and torch's scaled_dot_product_attention; for CPUs, and GPUs whose torch
has no paged kernel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from aquahost.engines.llm.batch import ChunkRows, PackedBatch
from aquahost.engines.llm.block_tables import BlockTables, Ints
from aquahost.engines.llm.kv_cache import KvCache
from aquahost.engines.llm.paged_attention import AttentionCall

GROUP_BYTES = 2 << 20
"""Most K and V gathered for one call, so that it is still in the core's cache when attention reads it (measured on
an EPYC with 1 MiB of L2 a core: 32 prompts of 300 tokens take half the time in 4 calls that they take in one)."""

PADDING_SHARE = 0.25
"""Prompts whose padding would exceed this share of the longest one's blocks go into a call of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gather:
    """One attention call over gathered blocks, the same for all layers."""

    first: int
    """Packed tokens first … first+count-1 are its queries."""
    count: int
    prompts: int
    """`count` for decodes (one query each), 1 for a chunk."""
    index: torch.Tensor
    """[2 * prompts * blocks] block rows: K of all prompts, then V."""
    span: slice
    """Gathered positions that take part; the mask covers the rest."""
    mask: torch.Tensor | None
    """Added to the scores: [prompts, 1, 1, positions] or [1, 1, count, positions]."""


class GatherAttention:
    """Scratch memory for gathered blocks, kept between steps; makes each step's `AttentionBatch`."""

    def __init__(self, cache: KvCache, tables: BlockTables, windows: Iterable[int | None]) -> None:
        """`windows`: those of the model's layers."""
        self.cache = cache
        self.tables = tables
        self.windows = frozenset(windows)
        self._scratch = torch.empty(0, dtype=cache.layout.dtype, device=cache.block_rows[0].device)

    def begin(self, batch: PackedBatch) -> GatherStep:
        """Attention of one step."""
        return GatherStep(self, batch)

    def scratch(self, rows: int) -> torch.Tensor:
        """[rows, block_tokens * kv_heads * head_dim], valid until the next call."""
        width = self.cache.block_rows[0].shape[1]
        if self._scratch.numel() < rows * width:
            self._scratch = torch.empty(rows * width, dtype=self._scratch.dtype, device=self._scratch.device)
        return self._scratch[: rows * width].view(rows, width)


class GatherStep:
    """One step: index tensors are built once for each window size, before the forward, and shared by its layers."""

    def __init__(self, owner: GatherAttention, batch: PackedBatch) -> None:
        self._owner = owner
        self._batch = batch
        self._gathers = {window: self._plan(window) for window in owner.windows}

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """Write K and V, then attend: decodes in groups, each chunk by itself."""
        batch, cache = self._batch, self._owner.cache
        cache.key_rows[call.layer].index_copy_(0, batch.rows, call.key[0].transpose(0, 1))
        cache.value_rows[call.layer].index_copy_(0, batch.rows, call.value[0].transpose(0, 1))
        gathers = self._gathers.get(call.window)
        if gathers is None:  # a window that the model did not have when it was loaded
            gathers = self._gathers[call.window] = self._plan(call.window)
        if len(gathers) == 1 and gathers[0].count == batch.tokens:
            return self._run(call, gathers[0])[None]
        if not gathers and len(batch.chunks) == 1:
            return _attend_directly(call, batch.chunks[0])[None]
        out = torch.empty_like(call.query[0].transpose(0, 1))
        for gather in gathers:
            out[gather.first : gather.first + gather.count] = self._run(call, gather)
        for chunk in batch.chunks:
            if _is_first(chunk, call.window):
                out[chunk.first : chunk.first + chunk.count] = _attend_directly(call, chunk)
        return out[None]

    def _run(self, call: AttentionCall, gather: _Gather) -> torch.Tensor:
        """[count, heads, head_dim] for one gather."""
        layout = self._owner.cache.layout
        scratch = self._owner.scratch(gather.index.numel())
        torch.index_select(self._owner.cache.block_rows[call.layer], 0, gather.index, out=scratch)
        gathered = scratch.view(2, gather.prompts, -1, layout.kv_heads, layout.head_dim)[:, :, gather.span]
        key, value = gathered.transpose(2, 3).unbind(0)
        query = call.query[:, :, gather.first : gather.first + gather.count]
        decodes = gather.prompts == gather.count
        if decodes:
            query = query.transpose(0, 2)  # [1, heads, prompts, dim] -> [prompts, heads, 1, dim]
        result = scaled_dot_product_attention(
            query, key, value, attn_mask=gather.mask, scale=call.scale, enable_gqa=True
        )
        return result.squeeze(2) if decodes else result[0].transpose(0, 1)

    def _plan(self, window: int | None) -> list[_Gather]:
        gathers = [self._plan_group(window, group) for group in self._groups(window)]
        gathers += [self._plan_chunk(window, chunk) for chunk in self._batch.chunks if not _is_first(chunk, window)]
        return gathers

    def _groups(self, window: int | None) -> list[slice]:
        """Split the decodes, ascending in length, into groups of similar length that fit the core's cache."""
        layout = self._owner.cache.layout
        blocks = self._spans(window, self._batch.decode_lengths)[1].tolist()
        per_block = 2 * layout.block_tokens * layout.token_values * layout.dtype.itemsize
        groups: list[slice] = []
        end = len(blocks)
        while end:
            longest = max(blocks[end - 1], 1)
            first = max(0, end - max(1, GROUP_BYTES // (longest * per_block)))
            shortest = longest * (1 - PADDING_SHARE) - 4  # a few blocks of padding cost less than a call
            while blocks[first] < shortest:
                first += 1
            groups.append(slice(first, end))
            end = first
        return groups

    def _spans(self, window: int | None, lengths: Ints) -> tuple[Ints, Ints]:
        """First block and number of blocks that hold the last `window` of `lengths` positions."""
        step = self._owner.cache.layout.block_tokens
        first = np.zeros_like(lengths) if window is None else np.maximum(lengths - window, 0) // step
        return first, (lengths - 1) // step - first + 1

    def _plan_group(self, window: int | None, group: slice) -> _Gather:
        batch, step = self._batch, self._owner.cache.layout.block_tokens
        slots, lengths = batch.decode_slots[group], batch.decode_lengths[group]
        first, blocks = self._spans(window, lengths)
        most = int(blocks.max())
        columns = np.minimum(np.arange(most), blocks[:, None] - 1) + first[:, None]  # padding repeats the last block
        begin = -first * step if window is None else np.maximum(lengths - window, 0) - first * step
        end = lengths - first * step
        span, mask = slice(int(begin.min()), int(end.max())), None
        if (begin != span.start).any() or (end != span.stop).any():
            at = np.arange(span.start, span.stop)
            mask = self._mask((at >= begin[:, None]) & (at < end[:, None]))[:, None, None]
        return _Gather(
            first=group.start,
            count=len(slots),
            prompts=len(slots),
            index=self._index(self._owner.tables.blocks[slots[:, None], columns]),
            span=span,
            mask=mask,
        )

    def _plan_chunk(self, window: int | None, chunk: ChunkRows) -> _Gather:
        step = self._owner.cache.layout.block_tokens
        end = chunk.start + chunk.count
        low = 0 if window is None else max(0, chunk.start + 1 - window)
        first = low // step
        blocks = self._owner.tables.blocks[chunk.slot, first : (end - 1) // step + 1]
        at, query = np.arange(low, end), np.arange(chunk.start, end)[:, None]
        seen = at <= query if window is None else (at <= query) & (at > query - window)
        return _Gather(
            first=chunk.first,
            count=chunk.count,
            prompts=1,
            index=self._index(blocks[None]),
            span=slice(low - first * step, end - first * step),
            mask=self._mask(seen)[None, None],
        )

    def _index(self, block_ids: Ints) -> torch.Tensor:
        cache = self._owner.cache
        rows = (block_ids * (2 * cache.layout.layers)).reshape(-1)
        return torch.from_numpy(np.concatenate([rows, rows + 1])).to(cache.block_rows[0].device)

    def _mask(self, seen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> torch.Tensor:
        layout = self._owner.cache.layout
        mask = torch.from_numpy(np.where(seen, np.float32(0), np.float32(-np.inf)))
        return mask.to(self._owner.cache.block_rows[0].device, layout.dtype)


def _is_first(chunk: ChunkRows, window: int | None) -> bool:
    """Whether the chunk attends only to itself, all of it: then nothing needs gathering."""
    return chunk.start == 0 and (window is None or chunk.count <= window)


def _attend_directly(call: AttentionCall, chunk: ChunkRows) -> torch.Tensor:
    rows = slice(chunk.first, chunk.first + chunk.count)
    query, key, value = call.query[:, :, rows], call.key[:, :, rows], call.value[:, :, rows]
    result = scaled_dot_product_attention(query, key, value, is_causal=True, scale=call.scale, enable_gqa=True)
    return result[0].transpose(0, 1)
