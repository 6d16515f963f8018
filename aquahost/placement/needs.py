"""What a model needs of each GPU that holds it, from its profile and its expected traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.errors import ConfigError
from aquahost.placement.language_load import LanguageTraffic, language_load
from aquahost.profiles.profile import GatedCosts, LanguageCosts, Profile

LEAST_PROMPTS = 2
"""A language model must have KV of its own for so many prompts of mean length: one that runs while one comes in."""
KEPT_SHARE = 0.25
"""Part of its `kv_bytes` that a language model keeps though nobody asks it anything, as its engine does."""
BORROW_TIMES = 4
"""Where borrow_bytes is not given, a model with kv_bytes borrows at most so many times these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One model. Sizes and utilisation are those of each GPU of each replica."""

    name: str
    kind: str = "llm"
    group: int = 1
    """GPUs of one server, linked with each other, that hold a replica together."""
    replicas: int = 1
    """Copies, no two of them on the same GPU."""
    gpu: int | None = None
    """The GPU that it must be on (one of its group), counted over all servers; None where that is free."""
    weights_bytes: int
    peak_bytes: int
    """Activations, for as many requests as may have begun."""
    kv_bytes: int | None = None
    """KV that its entry reserves on its own GPU: there when it is loaded, and no more than that. None: as it comes."""
    kv_least_bytes: int = 0
    """KV that it must have of its own, where `kv_bytes` is None."""
    kv_wanted_bytes: int = 0
    """KV that its traffic asks for, own or borrowed, bursts included."""
    borrow_most_bytes: int | None = None
    """Most of it that may be another GPU's; None: all."""
    utilisation: float = 0.0
    """Of the GPU's time; above 1 it is asked for more than it can do."""
    live_prompts: float = 0.0
    """There at once, on average."""
    residence_s: float = 0.0
    """How long a request is there."""

    @property
    def floor_bytes(self) -> int:
        """What must be free on a GPU for it to be loaded there."""
        return self.weights_bytes + self.peak_bytes + (self.kv_least_bytes if self.kv_bytes is None else self.kv_bytes)

    @property
    def taken_bytes(self) -> int:
        """What it never lends: weights, activations, and KV that it keeps or uses of what its entry reserves."""
        if self.kv_bytes is None:
            return self.weights_bytes + self.peak_bytes + self.kv_least_bytes
        kept_bytes = round(KEPT_SHARE * self.kv_bytes)
        return self.weights_bytes + self.peak_bytes + min(self.kv_bytes, max(kept_bytes, self.kv_wanted_bytes))

    @property
    def flexible_bytes(self) -> int:
        """KV beyond that which may lie on its own GPU or on others."""
        return max(0, self.kv_wanted_bytes - self.kv_least_bytes) if self.kv_bytes is None else 0

    @property
    def remote_bytes(self) -> int:
        """KV that can only be borrowed, since its entry reserves less than its traffic asks for."""
        over_bytes = 0 if self.kv_bytes is None else max(0, self.kv_wanted_bytes - self.kv_bytes)
        return over_bytes if self.borrow_most_bytes is None else min(over_bytes, self.borrow_most_bytes)

    @property
    def hopeless_bytes(self) -> int:
        """KV that its entry forbids: neither reserved nor to be borrowed."""
        over_bytes = 0 if self.kv_bytes is None else max(0, self.kv_wanted_bytes - self.kv_bytes)
        return over_bytes - self.remote_bytes

    def signed_bytes(self, memory_bytes: int) -> int:
        """Alone on a GPU of that much memory: what it can lend (above 0), or lacks (below)."""
        return memory_bytes - self.taken_bytes - self.flexible_bytes - self.remote_bytes


def needs_of(
    models: Mapping[str, ModelSettings], profiles: Mapping[str, Profile], scheduler: SchedulerSettings
) -> list[Need]:
    """What each model needs, in their order; toys need nothing and are left out.

    Raises ConfigError naming a model whose entry pins several replicas to one GPU, or that has no profile.
    """
    needs = []
    for name, model in models.items():
        if model.kind is Kind.TOY:
            continue
        if name not in profiles:
            raise ConfigError(f"models.{name}: there is no profile of it; make one: aquahost profile {name}")
        needs.append(need_of(name, model, profiles[name], scheduler))
    return needs


def need_of(name: str, model: ModelSettings, profile: Profile, scheduler: SchedulerSettings) -> Need:
    """What one model needs. Raises ConfigError for replicas that are pinned to one GPU."""
    if model.gpu != "auto" and model.replicas > 1:
        why = f"{model.replicas} replicas need GPUs of their own, but gpu is {model.gpu}; say gpu: auto"
        raise ConfigError(f"models.{name}.replicas: {why}")
    costs = profile.costs
    if isinstance(costs, LanguageCosts):
        return _language(name, model, costs, scheduler)
    return _gated(name, model, costs)


def _language(name: str, model: ModelSettings, costs: LanguageCosts, scheduler: SchedulerSettings) -> Need:
    asked = model.traffic
    traffic = LanguageTraffic(
        rate_per_s=asked.rate_per_s / model.replicas,
        input_tokens=asked.input_tokens,
        output_tokens=asked.output_tokens,
        step_tokens=scheduler.step_tokens,
        max_batch=scheduler.max_batch,
    )
    load = language_load(costs, traffic)
    context = min(model.max_context or costs.context_tokens, costs.context_tokens)

    def prompt_bytes(tokens: int) -> int:
        """KV of one prompt, in whole blocks."""
        return -(-min(tokens, context) // model.block_tokens) * model.block_tokens * costs.kv_token_bytes

    least_bytes = LEAST_PROMPTS * prompt_bytes(asked.input_tokens + asked.output_tokens)
    wanted_bytes = round(load.burst * prompt_bytes(asked.input_tokens + asked.output_tokens // 2))
    borrow_most_bytes = model.borrow_bytes
    if borrow_most_bytes is None and model.kv_bytes is not None:
        borrow_most_bytes = BORROW_TIMES * model.kv_bytes
    return Need(
        name=name,
        kind=str(model.kind),
        group=model.tensor_parallel,
        replicas=model.replicas,
        gpu=None if model.gpu == "auto" else model.gpu,
        weights_bytes=costs.weights_bytes,
        peak_bytes=costs.peak_bytes,
        kv_bytes=model.kv_bytes,
        kv_least_bytes=least_bytes,
        kv_wanted_bytes=max(least_bytes, wanted_bytes),
        borrow_most_bytes=borrow_most_bytes,
        utilisation=load.utilisation,
        live_prompts=load.live,
        residence_s=load.residence_s,
    )


def _gated(name: str, model: ModelSettings, costs: GatedCosts) -> Need:
    """One prompt computes at its worst instant, the others that have begun sleep at their gates."""
    if model.kind is Kind.AUDIO:
        size = min(model.traffic.duration_s, model.max_duration_s)
    else:
        size = float(model.size_px**2) if model.size_px else costs.default_size
    cost = costs.at(size)
    steps = model.steps or round(cost.steps_per_size * size) or costs.default_steps
    request_s = cost.begin_s + steps * cost.step_s + cost.end_s
    utilisation = model.traffic.rate_per_s / model.replicas * request_s
    return Need(
        name=name,
        kind=str(model.kind),
        group=model.tensor_parallel,
        replicas=model.replicas,
        gpu=None if model.gpu == "auto" else model.gpu,
        weights_bytes=costs.weights_bytes,
        peak_bytes=cost.peak_bytes + (model.max_concurrent - 1) * cost.held_bytes,
        utilisation=utilisation,
        live_prompts=utilisation,
        residence_s=request_s,
    )
