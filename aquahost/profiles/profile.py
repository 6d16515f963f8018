"""The profile of one model on one kind of GPU: what planner and simulator know of it."""

from __future__ import annotations

import msgspec

from aquahost.profiles.step_costs import StepCosts

SCHEMA_VERSION = 1
"""Raised whenever fields come, go away or change their meaning."""


class LanguageCosts(msgspec.Struct, frozen=True, kw_only=True, tag="language"):
    """A language model, as one GPU of its group sees it."""

    weights_bytes: int
    kv_token_bytes: int
    """Keys and values of one token, all layers."""
    peak_bytes: int
    """Activations of the widest step, beside weights and KV."""
    context_tokens: int
    """What the model was made for."""
    step: StepCosts
    transfer_s: float = 0.0
    """The engine's own work for one prompt's way out or in."""


class SizedCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one request of some size takes: an image of so many pixels, a sound of so many seconds."""

    size: float
    peak_bytes: int
    """Beside the weights, at the worst instant."""
    held_bytes: int
    """Beside the weights, while it sleeps at its gate."""
    begin_s: float
    """Before its first step: the text encoder's work, mostly."""
    step_s: float
    end_s: float
    """After its last one: decoding latents, mostly."""
    steps_per_size: float = 0.0
    """Steps for each second of sound, where the number of steps follows from the size; else 0."""


class GatedCosts(msgspec.Struct, frozen=True, kw_only=True, tag="gated"):
    """An image or audio model."""

    weights_bytes: int
    sizes: tuple[SizedCost, ...]
    """Ascending, at least one."""
    default_steps: int
    """Steps where a request does not say."""
    default_size: float
    """Pixels, or seconds, where a request does not say."""

    def at(self, size: float) -> SizedCost:
        """What a request of this size takes: on straight lines between those known, beyond the last in proportion."""
        sizes = self.sizes
        if size <= sizes[0].size or len(sizes) == 1:
            share = 1.0 if size <= sizes[0].size else size / sizes[0].size
            return _blend(sizes[0], sizes[0], 0.0, share, size)
        at = next((i for i, one in enumerate(sizes) if one.size >= size), len(sizes) - 1)
        low, high = sizes[at - 1], sizes[at]
        return _blend(low, high, (size - low.size) / (high.size - low.size), 1.0, size)


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one kind of GPU. Saved as JSON."""

    schema_version: int = SCHEMA_VERSION
    source: str
    """As models.yaml names it, or the folder."""
    key: str
    """Of model, dtype and whatever else the figures depend on; a profile is used for nothing else."""
    gpu: str
    """Data sheet's name, or "emulated", or what the driver calls the GPU."""
    dtype: str
    group: int = 1
    """GPUs that hold the model together (tensor parallel)."""
    measured: bool
    """Measured on that GPU, or worked out from the model's shape and a data sheet."""
    at: str = ""
    """When it was made, RFC 3339 in UTC."""
    parameters: int = 0
    costs: LanguageCosts | GatedCosts
    peer_bytes_per_s: float | None = None
    """Paging a prompt to a neighbour; None where it is the node's to say."""
    host_bytes_per_s: float | None = None

    @property
    def weights_bytes(self) -> int:
        """On each GPU of its group."""
        return self.costs.weights_bytes


def _blend(low: SizedCost, high: SizedCost, share: float, times: float, size: float) -> SizedCost:
    def between(a: float, b: float) -> float:
        return times * (a + share * (b - a))

    return SizedCost(
        size=size,
        peak_bytes=round(between(low.peak_bytes, high.peak_bytes)),
        held_bytes=round(between(low.held_bytes, high.held_bytes)),
        begin_s=between(low.begin_s, high.begin_s),
        step_s=between(low.step_s, high.step_s),
        end_s=between(low.end_s, high.end_s),
        steps_per_size=low.steps_per_size,
    )
