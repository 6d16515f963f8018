"""What a loaded language model consists of, handed from its load to its engine."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.block_tables import BlockTables
from aquahost.engines.llm.detokenizer import Vocabulary
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost.engines.llm.runner import ModelRunner
from aquahost.engines.llm.tokenization import PromptEncoder
from aquahost.messages.wire import Footprint
from aquahost.scheduling.scheduler import Scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """Everything the engine takes over."""

    runner: ModelRunner
    memory: KvMemory
    tables: BlockTables
    scheduler: Scheduler
    encoder: PromptEncoder
    vocabulary: Vocabulary
    footprint: Footprint
    end_ids: frozenset[int]
    """Tokens that end a reply."""
    vocabulary_size: int
    device: EngineDevice
    pin: bool
    """Never park it."""
