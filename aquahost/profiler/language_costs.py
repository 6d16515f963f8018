"""What a language model costs on a GPU, worked out from its shape and a data sheet. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost.profiler import achieved
from aquahost.profiles.data_sheets import DataSheet
from aquahost.profiles.profile import LanguageCosts
from aquahost.profiles.step_costs import RooflineSteps

SAMPLING_BYTES = 26
"""For each entry of the vocabulary and prompt that gets a token: its logit as computed and in float32, sorted values
and their positions, probabilities, their running sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageShape:
    """A decoder's sizes. Parameters that are shared (a head tied to the embedding) count once."""

    parameters: int
    looked_up: int
    """Of tables of which a step reads single rows: embeddings of tokens and positions that are no head as well."""
    head: int
    """Of the vocabulary's matrix at the end, which only tokens that choose a next one go through."""
    expert_parameters: int = 0
    """Of all experts together, of all layers."""
    experts: int = 0
    experts_each: int = 0
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    widest: int
    """The widest row of activations within a layer."""
    vocabulary: int
    context_tokens: int
    dtype: str
    dtype_bytes: int


def language_costs(
    shape: LanguageShape, sheet: DataSheet, *, group: int, step_tokens: int, max_batch: int
) -> LanguageCosts:
    """The costs on one GPU of a group of `group` equal ones that hold the model together.

    A group divides weights, arithmetic and KV, of which each GPU has at least one head of keys and values.
    """
    dtype_bytes = shape.dtype_bytes
    kv_heads = -(-shape.kv_heads // group)
    kv_token_bytes = 2 * shape.layers * kv_heads * shape.head_dim * dtype_bytes
    experts_each = shape.experts_each / shape.experts if shape.experts else 0.0
    always = shape.parameters - shape.looked_up - shape.expert_parameters
    computed = always - shape.head + experts_each * shape.expert_parameters
    reduces = achieved.REDUCES_PER_LAYER * shape.layers if group > 1 else 0
    sent_bytes = 2 * (group - 1) / group * shape.hidden * dtype_bytes
    return LanguageCosts(
        weights_bytes=-(-shape.parameters * dtype_bytes // group),
        kv_token_bytes=kv_token_bytes,
        peak_bytes=_peak_bytes(shape, group=group, step_tokens=step_tokens, max_batch=max_batch),
        context_tokens=shape.context_tokens,
        transfer_s=achieved.TRANSFER_HOST_S,
        step=RooflineSteps(
            weights_bytes=always * dtype_bytes / group,
            expert_bytes=shape.expert_parameters * dtype_bytes / group,
            experts=shape.experts,
            experts_each=shape.experts_each,
            token_flops=2 * computed / group,
            pair_flops=4 * shape.layers * -(-shape.heads // group) * shape.head_dim,
            kv_token_bytes=kv_token_bytes,
            memory_bytes_per_s=achieved.memory_rate(sheet.memory_bytes_per_s),
            flops=achieved.flops_rate(sheet.flops, dtype_bytes),
            launch_s=achieved.STEP_HOST_S + achieved.LAYER_LAUNCH_S * shape.layers,
            exchange_s=reduces * achieved.REDUCE_LATENCIES * sheet.nvlink_latency_s,
            exchange_token_s=reduces * sent_bytes / sheet.nvlink_bytes_per_s,
        ),
    )


def _peak_bytes(shape: LanguageShape, *, group: int, step_tokens: int, max_batch: int) -> int:
    """Activations of the widest step: in a layer the row that goes past it, the normed one, and three of the widest
    (gate, up and their product), which a group divides; after the last one what choosing tokens takes."""
    layer_bytes = step_tokens * shape.dtype_bytes * (2 * shape.hidden + -(-3 * shape.widest // group))
    choosing_bytes = min(max_batch, step_tokens) * shape.vocabulary * SAMPLING_BYTES
    return step_tokens * shape.hidden * shape.dtype_bytes + max(layer_bytes, choosing_bytes)
