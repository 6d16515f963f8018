"""How many tokens a prompt and its reply may have together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aquahost.config.settings import ModelSettings
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost.engines.llm.refusals import check_context
from aquahost.errors import LoadError
from aquahost.units import format_bytes

SMALLEST_CONTEXT = 8
_NO_LIMIT = 1_000_000_000  # tokenizers without a limit state 1e30


@dataclass(frozen=True, slots=True)
class Context:
    """A limit and why it is lower than the model's own."""

    tokens: int
    limited_by: str = ""
    """Empty where nothing limits it further."""


def choose_context(settings: ModelSettings, config: Any, tokenizer: Any, memory: KvMemory) -> Context:
    """The entry's max_context or the model's own, but no more than local and host memory hold. Raises LoadError."""
    own = getattr(config, "max_position_embeddings", None) or getattr(tokenizer, "model_max_length", None)
    if own is not None and own > _NO_LIMIT:
        own = None
    if settings.max_context is not None and own is not None and settings.max_context > own:
        raise LoadError(f"max_context is {settings.max_context}; the model was made for {own} tokens at most")
    sure_bytes = memory.sure_blocks * memory.layout.block_bytes
    capacity = memory.sure_blocks * memory.layout.block_tokens + 1  # nothing attends to the last token
    wanted = settings.max_context or own or capacity
    tokens = min(wanted, capacity)
    if tokens < SMALLEST_CONTEXT:
        raise LoadError(
            f"{format_bytes(sure_bytes)} of KV memory hold {capacity} tokens; at least "
            f"{SMALLEST_CONTEXT} are needed (set kv_bytes, or use a larger GPU)"
        )
    check_context(config, tokens)
    if tokens < wanted:
        return Context(tokens, f"that is what {format_bytes(sure_bytes)} of KV memory hold")
    if own is not None and tokens < own:
        return Context(tokens, "set by max_context")
    return Context(tokens)
