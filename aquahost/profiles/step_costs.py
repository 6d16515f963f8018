"""How long a language model's step takes: from a roofline, or fitted to what was measured."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class StepShape(NamedTuple):
    """What a step computes."""

    decodes: int
    """Prompts that compute one token each."""
    context: int = 0
    """Tokens that these attend to, summed over them."""
    prefill: int = 0
    """Tokens of prompts' input."""
    pairs: float = 0.0
    """Tokens that each of those attends to, summed over them."""
    prefill_context: int = 0
    """Tokens whose keys and values prefills read, summed over chunks: those before each chunk."""
    chunks: int = 1
    """Prompts of which input is computed, where any is."""


class RooflineSteps(msgspec.Struct, frozen=True, kw_only=True, tag="roofline"):
    """A step takes as long as the slower of its arithmetic and its memory traffic, and what launching it takes.

    The roofline model (Williams, Waterman, Patterson 2009) with achievable in place of peak rates. A mixture of experts
    reads of its experts only those that some token of the step chose.
    """

    weights_bytes: float
    """Read in every step, by one GPU of the model's group."""
    expert_bytes: float = 0.0
    """Of all experts together, by one GPU; not part of `weights_bytes`."""
    experts: int = 0
    experts_each: int = 0
    """Experts that one token goes through, in each layer."""
    token_flops: float
    """Arithmetic of one token but for attention, on one GPU."""
    pair_flops: float
    """Of one token's attention to one other, on one GPU."""
    kv_token_bytes: float
    """Keys and values of one token, on one GPU."""
    memory_bytes_per_s: float
    """Achievable."""
    flops: float
    """Achievable."""
    launch_s: float
    """Host and launch time that nothing hides."""
    exchange_s: float = 0.0
    """Of a group: latency of all its exchanges in a step."""
    exchange_token_s: float = 0.0
    """Of a group: what sending one token's activations takes."""

    def seconds(self, shape: StepShape) -> float:
        """How long a step of this shape takes."""
        tokens = shape.decodes + shape.prefill
        if not tokens:
            return 0.0
        read = self.weights_bytes + self.kv_token_bytes * (shape.context + shape.prefill_context + tokens)
        if self.experts:
            missed = (1 - self.experts_each / self.experts) ** tokens
            read += self.expert_bytes * (1 - missed)
        flops = self.token_flops * tokens + self.pair_flops * (shape.context + shape.pairs)
        busy_s = max(read / self.memory_bytes_per_s, flops / self.flops)
        return self.launch_s + busy_s + self.exchange_s + self.exchange_token_s * tokens


class FittedSteps(msgspec.Struct, frozen=True, kw_only=True, tag="fitted"):
    """A step takes a constant, and something for each thing it does; all that was measured, none below 0.

    Between numbers of tokens for which it was measured the constant and the tokens' part are interpolated, since
    machines compute some numbers of rows much better than others.
    """

    decode_widths: tuple[int, ...]
    """Numbers of decoding prompts measured, ascending."""
    decode_s: tuple[float, ...]
    """What a step of so many takes without context."""
    context_token_s: float
    """For each token that a decoding prompt attends to."""
    prefill_widths: tuple[int, ...]
    """Numbers of input tokens measured, ascending."""
    prefill_s: tuple[float, ...]
    """What a step of so many takes, at the begin of a prompt."""
    pair_s: float
    """For each pair of an input token and one before it."""
    mixed_s: float = 0.0
    """Beside prefill, what each decoding prompt adds."""
    prefill_context_token_s: float = 0.0
    """For each token before a chunk, beside its pairs."""
    chunk_s: float = 0.0
    """For each chunk beyond the first."""
    error: float = 0.0
    """Median relative error over all that was measured."""
    worst_error: float = 0.0

    def seconds(self, shape: StepShape) -> float:
        """How long a step of this shape takes."""
        if not shape.prefill:
            if not shape.decodes:
                return 0.0
            return interpolate(self.decode_widths, self.decode_s, shape.decodes) + self.context_token_s * shape.context
        prefill_s = interpolate(self.prefill_widths, self.prefill_s, shape.prefill) + self.pair_s * shape.pairs
        prefill_s += self.prefill_context_token_s * shape.prefill_context + self.chunk_s * max(0, shape.chunks - 1)
        return prefill_s + self.mixed_s * shape.decodes + self.context_token_s * shape.context


StepCosts = RooflineSteps | FittedSteps


def interpolate(widths: tuple[int, ...], times_s: tuple[float, ...], width: float) -> float:
    """The time on the straight line between the two nearest widths; beyond the last as between the last two, below the
    first as at the first."""
    if width <= widths[0] or len(widths) == 1:
        return times_s[0] if width <= widths[0] else times_s[0] * width / widths[0]
    at = next((i for i, one in enumerate(widths) if one >= width), len(widths) - 1)
    share = (width - widths[at - 1]) / (widths[at] - widths[at - 1])
    return times_s[at - 1] + share * (times_s[at] - times_s[at - 1])
