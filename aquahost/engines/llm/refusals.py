"""Models that are refused from their config alone, each with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aquahost.errors import LoadError

_SERVED_LAYER_TYPES = frozenset({"full_attention", "sliding_attention"})


def check_config(config: Any, model_class: Any) -> None:
    """Raise LoadError if a model of `config` cannot be served. `model_class`: its causal class, None if it has none."""
    kind = getattr(config, "model_type", type(config).__name__)
    reason = _reason(config, model_class)
    if reason:
        raise LoadError(f"a model of type {kind} cannot be served: {reason}")


def check_context(config: Any, max_context: int) -> None:
    """Raise LoadError where positions beyond some length would change what other prompts of the batch see."""
    rope = getattr(config, "rope_parameters", None) or {}
    kind = rope.get("rope_type") if isinstance(rope, dict) else None
    original = rope.get("original_max_position_embeddings") if kind in ("longrope", "dynamic") else None
    if kind == "dynamic":
        original = original or config.max_position_embeddings
    if original and max_context > original:
        raise LoadError(
            f'its rotary positions ("{kind}") change for all prompts of a batch once one is longer than '
            f"{original} tokens; set max_context to {original} or less"
        )


def stated_window(config: Any) -> int | None:
    """The window that a config states for some or all layers, whether they use it or not; None if it states none."""
    window = getattr(config, "sliding_window", None)
    return window if isinstance(window, int) and window > 0 else None


def check_window(config: Any, windows: Sequence[int | None], max_context: int) -> None:
    """Raise LoadError where a window is kept by the model's mask alone, which is not built for our attention.

    `windows`: what each layer hands to attention. Layer types, where there are any, say which layers have a window.
    """
    window = stated_window(config)
    used = getattr(config, "use_sliding_window", None) is not False
    told = any(each is not None for each in windows) or getattr(config, "layer_types", None)
    if window is not None and used and not told and max_context > window:
        raise LoadError(
            f"its window of {window} tokens can't be kept, since it does not reach attention; "
            f"set max_context to {window} to serve it without a window"
        )


def _reason(config: Any, model_class: Any) -> str | None:
    if getattr(config, "is_encoder_decoder", False):
        return "it is an encoder-decoder; only decoders are"
    if config.get_text_config() is not config or getattr(config, "vision_config", None) is not None:
        return "it is multi-modal; only text decoders are"
    if getattr(config, "quantization_config", None) is not None:
        return "its weights are quantised; use the model's float16, bfloat16 or float32 weights"
    if model_class is None:
        return "transformers has no causal language model for it"
    if getattr(config, "add_cross_attention", False):
        return "it has cross-attention"
    types = set(getattr(config, "layer_types", None) or ()) - _SERVED_LAYER_TYPES
    if types:
        return f"it has layers of type {', '.join(sorted(types))}; only full and sliding attention are"
    if getattr(model_class, "_is_stateful", False):
        return "it keeps a recurrent state (as Mamba does) instead of keys and values"
    if not getattr(model_class, "_supports_attention_backend", False):
        return "its attention does not go through transformers' AttentionInterface"
    if getattr(config, "attn_logit_softcapping", None):
        return "it caps attention scores (attn_logit_softcapping)"
    return None
