"""Small simulated nodes for tests: costs in round numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aquahost.config.settings import EmulatedSettings, Kind, LeasingSettings, ModelSettings, SchedulerSettings, Settings
from aquahost.profiles.profile import GatedCosts, LanguageCosts, Profile, SizedCost
from aquahost.profiles.step_costs import RooflineSteps
from aquahost.simulator.links import Paired
from aquahost.simulator.node import Hosted
from aquahost.simulator.run import Machine
from aquahost.traces.trace import Trace, TracePrompt, in_order
from aquahost.units import MIB

TOKEN_BYTES = 4096
"""Keys and values of one token."""
STEP_S = 0.01
"""A step of one decoding prompt without context, very nearly."""


def language_profile(**costs: Any) -> Profile:
    """A language model whose steps take about 10 ms and 0.1 ms a token."""
    step = RooflineSteps(
        weights_bytes=1e7, token_flops=1e5, pair_flops=1.0, kv_token_bytes=100.0, memory_bytes_per_s=1e9, flops=1e9,
        launch_s=0.0,
    )  # fmt: skip
    given = {
        "weights_bytes": 64 * MIB, "kv_token_bytes": TOKEN_BYTES, "peak_bytes": 8 * MIB, "context_tokens": 8192,
        "step": step,
    } | costs  # fmt: skip
    return _profile(LanguageCosts(**given))


def gated_profile(**more: Any) -> Profile:
    """An image model: 0.2 s to begin, 0.1 s a step, 0.3 s to end."""
    size = SizedCost(size=512, peak_bytes=32 * MIB, held_bytes=4 * MIB, begin_s=0.2, step_s=0.1, end_s=0.3, **more)
    return _profile(GatedCosts(weights_bytes=128 * MIB, sizes=(size,), default_steps=5, default_size=512))


def _profile(costs: LanguageCosts | GatedCosts) -> Profile:
    return Profile(source="made up", key="", gpu="emulated", dtype="float32", measured=False, costs=costs)


def language(
    name: str = "chat", gpus: tuple[int, ...] = (0,), *, profile: Profile | None = None, **entry: Any
) -> Hosted:
    """A hosted language model; 4 MiB of KV memory are 1,024 tokens."""
    settings = ModelSettings(**({"kind": Kind.LLM, "source": "made up", "kv_bytes": 4 * MIB} | entry))
    return Hosted(name=name, settings=settings, profile=profile or language_profile(), gpus=gpus)


def image(name: str = "paint", gpu: int = 1, *, profile: Profile | None = None, **entry: Any) -> Hosted:
    """A hosted image model."""
    settings = ModelSettings(**({"kind": Kind.IMAGE, "source": "made up"} | entry))
    return Hosted(name=name, settings=settings, profile=profile or gated_profile(), gpus=(gpu,))


def settings_of(hosted: Sequence[Hosted], *, scheduler: dict[str, Any] | None = None, **leasing: Any) -> Settings:
    """Settings with these models."""
    return Settings(
        models={one.name: one.settings for one in hosted},
        scheduler=SchedulerSettings(**(scheduler or {})),
        leasing=LeasingSettings(**leasing),
    )


def machine(gpus: int = 4, gpu_bytes: int = 256 * MIB, **rates: Any) -> Machine:
    """GPUs linked as the emulated driver's are, with small chunks."""
    wiring = Paired(EmulatedSettings(gpus=gpus, gpu_bytes=gpu_bytes, **rates))
    return Machine(name="test", gpu_bytes=(gpu_bytes,) * gpus, wiring=wiring, chunk_bytes=2 * MIB)


def prompts(*given: tuple[float, int, int], model: str = "chat", **more: Any) -> list[TracePrompt]:
    """Prompts of (arrival, input, output)."""
    return [
        TracePrompt(number=number, arrival_s=at_s, input_tokens=taken, output_tokens=asked, model=model, **more)
        for number, (at_s, taken, asked) in enumerate(given)
    ]


def trace(*parts: list[TracePrompt]) -> Trace:
    """A trace of these."""
    return Trace(name="test", seed=None, prompts=in_order([one for part in parts for one in part]), kv_tokens=0)
