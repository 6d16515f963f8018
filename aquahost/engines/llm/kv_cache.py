"""The arena seen as tensors, one set of views for each layer."""

from __future__ import annotations

import torch

from aquahost.engines.llm.kv_layout import KvLayout


class KvCache:
    """Views of the arena's memory; owns no memory itself.

    The views of layer l are the same memory shifted by l layers, so one set of row numbers, made once a step, serves
    all layers: token row `block * layout.token_rows + offset`, block row `block * 2 * layers` (V: one row further).
    """

    def __init__(self, memory: torch.Tensor, layout: KvLayout) -> None:
        """`memory`: uint8, one-dimensional, whole blocks; its contents must be finite numbers."""
        self.layout = layout
        self.blocks = memory.numel() // layout.block_bytes
        flat = memory[: self.blocks * layout.block_bytes].view(layout.dtype)
        token_rows = flat.view(-1, layout.kv_heads, layout.head_dim)
        block_rows = flat.view(-1, layout.block_tokens * layout.token_values)
        whole = flat.view(self.blocks, layout.layers, 2, layout.block_tokens, layout.kv_heads, layout.head_dim)
        step = layout.block_tokens
        self.key_rows = [token_rows[2 * layer * step :] for layer in range(layout.layers)]
        """Per layer [rows, kv_heads, head_dim]: where tokens' keys are written."""
        self.value_rows = [token_rows[(2 * layer + 1) * step :] for layer in range(layout.layers)]
        self.block_rows = [block_rows[2 * layer :] for layer in range(layout.layers)]
        """Per layer [rows, block_tokens * kv_heads * head_dim]: where whole blocks of K or V are gathered from."""
        self.key_blocks = [whole[:, layer, 0] for layer in range(layout.layers)]
        """Per layer [blocks, block_tokens, kv_heads, head_dim], for kernels that take a block table."""
        self.value_blocks = [whole[:, layer, 1] for layer in range(layout.layers)]
        self._whole = whole

    def clear(self, block_ids: list[int]) -> None:
        """Zero these blocks. Masked positions are still multiplied, so a NaN left behind would reach a stranger."""
        self._whole.index_fill_(0, torch.tensor(block_ids, dtype=torch.int64, device=self._whole.device), 0)
