"""Our attention's entry into transformers' models, and the seam to what carries it out."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from transformers import AttentionInterface

ATTENTION_NAME = "aquahost_paged"
"""Name under which the attention is registered; a model is loaded with it as `attn_implementation`."""

BATCH_KEYWORD = "aquahost_batch"
"""Keyword of the model's forward that carries the step's `AttentionBatch` through to every layer."""


class AttentionBatch(Protocol):
    """One step's attention: writes the step's K and V into the arena and attends to what lies there."""

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """Returns [1, tokens, heads, head_dim]."""
        ...


class AttentionCall:
    """What one layer asks of attention. A plain class with slots: one is made per layer and step."""

    __slots__ = ("key", "layer", "query", "scale", "value", "window")

    def __init__(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
        window: int | None,
    ) -> None:
        self.layer = layer
        self.query = query
        """[1, heads, tokens, head_dim], all prompts of the step one after the other."""
        self.key = key
        """[1, kv_heads, tokens, head_dim]; `value` likewise."""
        self.value = value
        self.scale = scale
        self.window = window
        """Attend to the last `window` positions, the token's own included; None is all."""


class UnsupportedAttentionError(Exception):
    """A model asks of attention what ours does not do; the text says what."""


UNSUPPORTED_KEYWORDS = {
    "softcap": "soft-capped attention scores",
    "s_aux": "attention sinks",
    "sinks": "attention sinks",
    "position_bias": "a position bias",
    "score_mod": "modified attention scores",
    "indices": "sparse attention",
    "block_indices": "sparse attention",
    "head_mask": "a head mask",
}
"""Keywords that models hand to attention and that change its result."""


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    aquahost_batch: AttentionBatch | None = None,
    **keywords: Any,
) -> tuple[torch.Tensor, None]:
    """The registered attention function. Raises UnsupportedAttentionError for what it does not implement."""
    if aquahost_batch is None:
        raise UnsupportedAttentionError("its forward does not hand keywords on to attention")
    if not (getattr(module, "is_causal", True) and keywords.get("is_causal", True)):
        raise UnsupportedAttentionError("its attention is not causal")
    for name, what in UNSUPPORTED_KEYWORDS.items():
        if name in keywords and keywords[name] is not None:
            raise UnsupportedAttentionError(f"it uses {what} ({name})")
    layer: int = module.layer_idx  # type: ignore[assignment]
    return aquahost_batch.attend(AttentionCall(layer, query, key, value, scaling, sliding_window)), None


def register() -> None:
    """Make `ATTENTION_NAME` known to transformers; doing so again changes nothing.

    No mask function goes with it: for a name without one models build no mask, and positions and block tables say all
    that a mask would.
    """
    AttentionInterface.register(ATTENTION_NAME, paged_attention)
