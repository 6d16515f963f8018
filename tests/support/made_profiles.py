"""Profiles as tests need them."""

from __future__ import annotations

import msgspec

from aquahost.profiles.profile import LanguageCosts, Profile
from aquahost.profiles.step_costs import FittedSteps

STEP = FittedSteps(
    decode_widths=(1, 8),
    decode_s=(0.01, 0.02),
    context_token_s=1e-6,
    prefill_widths=(16, 64),
    prefill_s=(0.01, 0.03),
    pair_s=1e-8,
)


def profile(source: str = "org/name", **changes: object) -> Profile:
    """Of a small language model on an H100, worked out, with these fields changed."""
    costs = LanguageCosts(weights_bytes=100, kv_token_bytes=4, peak_bytes=10, context_tokens=64, step=STEP)
    made = Profile(source=source, key="k", gpu="H100", dtype="float16", measured=False, costs=costs)
    return msgspec.structs.replace(made, **changes)
