"""The KV arena of one model and the blocks in it."""

from __future__ import annotations

from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.block_pool import BlockPool
from aquahost.engines.llm.kv_cache import KvCache
from aquahost.engines.llm.kv_layout import KvLayout
from aquahost.errors import LoadError
from aquahost.units import format_bytes

_DEFAULT_SHARE = 0.8


class KvMemory:
    """Owns the arena, its views and its block pool; `close` gives the memory back."""

    def __init__(self, device: EngineDevice, layout: KvLayout, kv_bytes: int | None) -> None:
        """Map `kv_bytes` of memory, or 80 % of what is free. Raises LoadError if not even one block fits."""
        wanted = int(device.free_bytes() * _DEFAULT_SHARE) if kv_bytes is None else kv_bytes
        if wanted < layout.block_bytes:
            raise LoadError(
                f"{format_bytes(wanted)} of KV memory hold no block; one block of {layout.block_tokens} tokens takes "
                f"{format_bytes(layout.block_bytes)} (set kv_bytes or block_tokens, or use a larger GPU)"
            )
        blocks = wanted // layout.block_bytes
        self.layout = layout
        self._arena = device.arena(blocks * layout.block_bytes)
        try:
            memory = device.tensor(self._arena.address, blocks * layout.block_bytes)
            if not device.is_emulated:  # whose memory is zero already, and is only taken from the host when written
                memory.zero_()
            self.cache = KvCache(memory, layout)
        except BaseException:
            self._arena.close()
            raise
        self.pool = BlockPool(blocks)

    @property
    def mapped_bytes(self) -> int:
        """Memory that the arena takes from the GPU."""
        return int(self._arena.mapped_bytes)

    @property
    def capacity_bytes(self) -> int:
        """Bytes of all blocks."""
        return self.pool.blocks * self.layout.block_bytes

    def close(self) -> None:
        """Unmap the arena; its tensors must not be used any more."""
        self._arena.close()
