"""What a model asks of attention, learned by running it once and watching its attention calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from aquahost.engines.llm.kv_layout import KvLayout
from aquahost.engines.llm.paged_attention import BATCH_KEYWORD, AttentionCall, UnsupportedAttentionError
from aquahost.errors import LoadError


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Shape of a model's keys and values, the same in every layer."""

    layers: int
    heads: int
    """Of queries, most of any layer."""
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    windows: tuple[int | None, ...]
    """Per layer."""

    def layout(self, block_tokens: int) -> KvLayout:
        """KV blocks of this many tokens."""
        return KvLayout(
            layers=self.layers,
            block_tokens=block_tokens,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            dtype=self.dtype,
        )


class _Watcher:
    """An `AttentionBatch` that notes every call and attends causally to the step's own tokens."""

    def __init__(self) -> None:
        self.calls: list[AttentionCall] = []

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """Plain attention."""
        self.calls.append(call)
        result = scaled_dot_product_attention(
            call.query, call.key, call.value, is_causal=True, scale=call.scale, enable_gqa=True
        )
        return result.transpose(1, 2)


def discover(model: Any, device: torch.device) -> Geometry:
    """Run `model` on two tokens and read its geometry off the calls. Raises LoadError if paging can't serve it."""
    watcher = _Watcher()
    ids = torch.zeros((1, 2), dtype=torch.int64, device=device)
    try:
        with torch.inference_mode():
            model(input_ids=ids, position_ids=torch.arange(2, device=device)[None], use_cache=False,
                  return_dict=True, **{BATCH_KEYWORD: watcher})  # fmt: skip
    except UnsupportedAttentionError as error:
        raise LoadError(f"{type(model).__name__} cannot be served: {error}") from error
    except (TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise LoadError(f"{type(model).__name__} cannot be served: its forward fails with ours: {error}") from error
    return _checked(model, watcher.calls)


def _checked(model: Any, calls: list[AttentionCall]) -> Geometry:
    name, layers = type(model).__name__, model.config.num_hidden_layers
    if not calls:
        raise LoadError(f"{name} cannot be served: its attention does not go through AttentionInterface")
    if [call.layer for call in calls] != list(range(layers)):
        raise LoadError(f"{name} cannot be served: {len(calls)} attention calls in {layers} layers; each must have one")
    heads = max(call.query.shape[1] for call in calls)
    shapes = {(c.key.shape[1], c.key.shape[3], c.value.shape[3], c.key.dtype) for c in calls}
    if len(shapes) > 1:
        raise LoadError(f"{name} cannot be served: its layers' keys differ in shape")
    kv_heads, head_dim, value_dim, dtype = shapes.pop()
    if head_dim != value_dim:
        raise LoadError(f"{name} cannot be served: keys have {head_dim} dimensions and values {value_dim}")
    windows = tuple(call.window for call in calls)
    _check_windows(model, windows)
    return Geometry(layers=layers, heads=heads, kv_heads=kv_heads, head_dim=head_dim, dtype=dtype, windows=windows)


def _check_windows(model: Any, windows: tuple[int | None, ...]) -> None:
    """A window that is in the config but not handed to attention would be lost with the mask."""
    types = getattr(model.config, "layer_types", None) or ()
    for layer, kind in enumerate(types[: len(windows)]):
        if (kind == "sliding_attention") != (windows[layer] is not None):
            raise LoadError(
                f"{type(model).__name__} cannot be served: layer {layer} is of type {kind} "
                f"but attends with a window of {windows[layer]}"
            )
