"""Shape of the KV cache: what one block holds and how large it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from aquahost.engines.device import EngineDevice
from aquahost.errors import LoadError
from aquahost.units import format_bytes

_DEFAULT_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class KvLayout:
    """A block holds `block_tokens` tokens of K and V of ALL layers, contiguous:
    [layers, 2, block_tokens, kv_heads, head_dim]."""

    layers: int
    block_tokens: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype

    @property
    def token_values(self) -> int:
        """Numbers in one token's K (or V) of one layer."""
        return self.kv_heads * self.head_dim

    @property
    def block_bytes(self) -> int:
        """Bytes of one block."""
        return self.layers * 2 * self.block_tokens * self.token_values * self.dtype.itemsize

    @property
    def token_rows(self) -> int:
        """Rows of one token's K or V in one block, all layers counted."""
        return self.layers * 2 * self.block_tokens

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold this many tokens."""
        return -(-tokens // self.block_tokens)


def local_kv_bytes(wanted_bytes: int | None, device: EngineDevice, layout: KvLayout) -> int:
    """KV memory on the model's own GPU: what its entry asks for, or most of what is free.

    Raises LoadError if that holds no block.
    """
    wanted = int(device.claimable_bytes() * _DEFAULT_SHARE) if wanted_bytes is None else wanted_bytes
    if wanted < layout.block_bytes:
        raise LoadError(
            f"{format_bytes(wanted)} of KV memory hold no block; one block of {layout.block_tokens} tokens takes "
            f"{format_bytes(layout.block_bytes)} (set kv_bytes or block_tokens, or use a larger GPU)"
        )
    return wanted
