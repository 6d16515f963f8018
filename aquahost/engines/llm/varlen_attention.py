"""Attention by torch's own paged kernel on GPUs: decodes and chunks in one call, blocks read where they lie."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection

import numpy as np
import torch

from aquahost.engines.llm.batch import ChunkInput, PackedBatch, pack
from aquahost.engines.llm.block_tables import BlockTables
from aquahost.engines.llm.kv_cache import KvCache
from aquahost.engines.llm.paged_attention import AttentionCall

logger = logging.getLogger(__name__)

_KERNEL_DTYPES = (torch.float16, torch.bfloat16)


def varlen_is_available(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `VarlenAttention` may be tried: a GPU, torch's `varlen_attn` with a block table, a dtype it takes."""
    if device.type != "cuda" or dtype not in _KERNEL_DTYPES:
        return False
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return "block_table" in inspect.signature(varlen_attn).parameters


class VarlenAttention:
    """Makes each step's `AttentionBatch`."""

    def __init__(self, cache: KvCache, tables: BlockTables) -> None:
        self.cache = cache
        self.tables = tables

    def begin(self, batch: PackedBatch) -> VarlenStep:
        """Attention of one step."""
        return VarlenStep(self.cache, self.tables, batch)

    def works(self, heads: int, windows: Collection[int | None]) -> bool:
        """Whether the kernel takes this arena: one token through block 0 and a free slot, with each window.

        Which block sizes, GPUs and builds of torch have paging, only a call tells.
        """
        cache, device = self.cache, self.cache.key_rows[0].device
        layout = cache.layout
        slot = self.tables.acquire()
        try:
            self.tables.append(slot, [0])
            chunk = ChunkInput(slot=slot, token_ids=[0], completes=True)
            step = self.begin(pack(self.tables, layout, device, np.empty(0, dtype=np.int64), [chunk]))
            query, key = (
                torch.zeros(1, count, 1, layout.head_dim, dtype=layout.dtype, device=device)
                for count in (heads, layout.kv_heads)
            )
            with torch.inference_mode():
                for window in set(windows):
                    step.attend(AttentionCall(0, query, key, key, None, window)).sum().item()  # waits for the kernel
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise  # the GPU is full, or its context broken: gathering would fare no better
        except (RuntimeError, ValueError, TypeError) as error:
            logger.warning("no paged kernel for this arena, blocks are gathered instead: %s", error)
            return False
        finally:
            self.tables.release(slot)
        return True


class VarlenStep:
    """One step: its cumulative lengths and block table, shared by all layers."""

    def __init__(self, cache: KvCache, tables: BlockTables, batch: PackedBatch) -> None:
        device = batch.rows.device
        slots = np.concatenate([batch.decode_slots, np.array([c.slot for c in batch.chunks], dtype=np.int64)])
        queries = np.concatenate([np.ones_like(batch.decode_slots), [c.count for c in batch.chunks]]).astype(np.int32)
        used = np.concatenate([batch.decode_lengths, [c.start + c.count for c in batch.chunks]]).astype(np.int32)
        blocks = cache.layout.blocks_for(int(used.max()))
        self._cache = cache
        self._rows = batch.rows
        self._most_queries, self._most_keys = int(queries.max()), int(used.max())
        self._ends = torch.from_numpy(np.concatenate([[0], queries.cumsum()]).astype(np.int32)).to(device)
        self._used = torch.from_numpy(used).to(device)
        self._table = torch.from_numpy(tables.blocks[slots, :blocks].astype(np.int32)).to(device)

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """Write K and V, then attend through the block table."""
        from torch.nn.attention.varlen import varlen_attn

        cache, layer = self._cache, call.layer
        cache.key_rows[layer].index_copy_(0, self._rows, call.key[0].transpose(0, 1))
        cache.value_rows[layer].index_copy_(0, self._rows, call.value[0].transpose(0, 1))
        result = varlen_attn(
            call.query[0].transpose(0, 1).contiguous(),
            cache.key_blocks[layer],
            cache.value_blocks[layer],
            self._ends,
            None,
            self._most_queries,
            self._most_keys,
            scale=call.scale,
            window_size=(-1 if call.window is None else call.window - 1, 0),
            enable_gqa=True,
            seqused_k=self._used,
            block_table=self._table,
        )
        out: torch.Tensor = result[0] if isinstance(result, tuple) else result
        return out[None]
