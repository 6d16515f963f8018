"""What a language model costs on the GPU at hand, measured with the real engine, alone."""

from __future__ import annotations

from collections.abc import Callable

from aquahost.config.settings import SchedulerSettings
from aquahost.engines.llm.engine import LlmEngine
from aquahost.engines.llm.tiers import Tier
from aquahost.profiler.paging_measure import measure_paging
from aquahost.profiler.step_fit import fit_steps
from aquahost.profiler.step_probe import StepProbe
from aquahost.profiler.step_scenes import Limits, SceneTimes, scenes
from aquahost.profiles.profile import LanguageCosts
from aquahost.profiles.step_costs import FittedSteps
from aquahost_cuda.driver import Driver

ROUNDS = 2
MORE_ROUNDS = 4
"""At most, of those that are doubtful."""
_PAGED_TOKENS = 1024


def measure_language(
    engine: LlmEngine,
    driver: Driver,
    donor: int | None,
    scheduler: SchedulerSettings,
    note: Callable[[str, int, int], None],
) -> tuple[LanguageCosts, dict[Tier, float]]:
    """Its costs, and the bytes a second that paging carries; closes the engine. `donor`: another GPU, None if there is
    none. `note` is told what is measured, and how much of all that is done."""
    memory = engine.sequences.tiers.memory
    layout = memory.layout
    config = engine.runner.model.config
    limits = Limits(
        context=engine.footprint.max_context or 0,
        kv_tokens=memory.local_blocks * layout.block_tokens,
        step_tokens=scheduler.step_tokens,
        max_batch=scheduler.max_batch,
    )
    step = _measure_steps(engine, limits, int(config.vocab_size), note)
    note("paging", 1, 1)
    tokens = max(layout.block_tokens, min(_PAGED_TOKENS, limits.longest))
    engine.close()  # its memory is wanted for the paged prompt
    paging = measure_paging(driver, engine.sequences.device.gpu_index, donor, layout, tokens=tokens)
    costs = LanguageCosts(
        weights_bytes=engine.footprint.weights_bytes,
        kv_token_bytes=layout.block_bytes // layout.block_tokens,
        peak_bytes=engine.footprint.peak_bytes,
        context_tokens=int(getattr(config, "max_position_embeddings", None) or limits.context),
        step=step,
        transfer_s=max((cost.work_s for cost in paging.values()), default=0.0),
    )
    return costs, {tier: cost.bytes_per_s for tier, cost in paging.items()}


def _measure_steps(
    engine: LlmEngine, limits: Limits, vocabulary: int, note: Callable[[str, int, int], None]
) -> FittedSteps:
    found = scenes(limits)
    done = 0

    def told(what: str) -> None:
        nonlocal done
        note(what, min(done, ROUNDS * len(found)), ROUNDS * len(found))
        done += 1

    times = SceneTimes(StepProbe(engine, vocabulary), found, told)
    for _ in range(ROUNDS):
        times.measure()
    costs = fit_steps(times.steps)
    for _ in range(MORE_ROUNDS):
        if doubtful := times.doubtful(costs):
            times.measure(doubtful)
            costs = fit_steps(times.steps)
    return costs
