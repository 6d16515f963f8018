"""Which GPUs hold which model of a simulated node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aquahost.config.settings import Kind, ModelSettings
from aquahost.errors import ConfigError
from aquahost.profiles.profile import LanguageCosts, Profile
from aquahost.simulator.node import Hosted
from aquahost.units import format_bytes


def placed(
    models: Mapping[str, ModelSettings], profiles: Mapping[str, Profile], gpu_bytes: Sequence[int]
) -> list[Hosted]:
    """Every model, by its entry's order: one to a GPU as far as they go round, those that name a GPU first.

    Toys are left out. Raises ConfigError naming a model that fits nowhere, with what is short, or one whose GPU does
    not exist.
    """
    hosted: dict[str, list[Hosted]] = {}
    free, count = list(gpu_bytes), [0] * len(gpu_bytes)
    real = [name for name, model in models.items() if model.kind is not Kind.TOY]
    for name in sorted(real, key=lambda name: models[name].gpu == "auto"):  # stable: else in their own order
        model, taken = models[name], set[int]()
        needed = _needed_bytes(model, profiles[name])
        for _ in range(model.replicas):
            gpus = _group(name, model, needed, free, count, taken)
            taken.update(gpus)
            for gpu in gpus:
                free[gpu] -= needed
                count[gpu] += 1
            one = Hosted(name=name, settings=model, profile=profiles[name], gpus=gpus)
            hosted.setdefault(name, []).append(one)
    return [one for name in real for one in hosted[name]]


def _group(
    name: str, model: ModelSettings, needed: int, free: Sequence[int], count: Sequence[int], taken: set[int]
) -> tuple[int, ...]:
    """GPUs for one replica: those with the fewest models that have the memory."""
    gpus = range(len(free))
    if model.gpu != "auto" and model.gpu not in gpus:
        raise ConfigError(f"models.{name}.gpu: GPU {model.gpu} does not exist; the node has {len(free)}, from 0 on")
    named = [gpu for gpu in gpus if gpu == model.gpu]
    others = sorted((gpu for gpu in gpus if gpu != model.gpu), key=lambda gpu: (count[gpu], -free[gpu], gpu))
    usable = [gpu for gpu in (*named, *others) if free[gpu] >= needed and gpu not in taken]
    if named and (model.replicas > 1 or named[0] not in usable):
        why = f"needs {format_bytes(needed)}, and GPU {named[0]} has {format_bytes(max(0, free[named[0]]))} left"
        if model.replicas > 1:
            why = f"{model.replicas} replicas need GPUs of their own, but gpu is {model.gpu}; say gpu: auto"
        raise ConfigError(f"models.{name}: {why}")
    if len(usable) < model.tensor_parallel:
        raise ConfigError(_too_large(name, model, needed, free, len(usable) + len(taken)))
    return tuple(sorted(usable[: model.tensor_parallel]))


def _too_large(name: str, model: ModelSettings, needed: int, free: Sequence[int], fitting: int) -> str:
    wanted = model.tensor_parallel * model.replicas
    where = "a GPU" if wanted == 1 else f"each of {wanted} GPUs"
    have = {0: "none has", 1: "one has"}.get(fitting, f"{fitting} have")
    told = f"models.{name} needs {format_bytes(needed)} of {where}, and {have} that left; the emptiest has"
    split = 2 * model.tensor_parallel if model.kind is Kind.LLM else 0
    hint = f", or split it: tensor_parallel: {split}" if split and split * model.replicas <= len(free) else ""
    return f"{told} {format_bytes(max(free))}. Take more or larger GPUs{hint}, or leave models out"


def _needed_bytes(model: ModelSettings, profile: Profile) -> int:
    """What must be free on each GPU of its group: weights, activations, and KV memory, of which one block is least."""
    costs = profile.costs
    if not isinstance(costs, LanguageCosts):
        return costs.weights_bytes + costs.sizes[0].peak_bytes
    traffic, block_bytes = model.traffic, costs.kv_token_bytes * model.block_tokens
    adapters_bytes = traffic.adapter_slots * traffic.adapter_bytes if traffic.adapters else 0
    kv_bytes = block_bytes if model.kv_bytes is None else model.kv_bytes // model.tensor_parallel
    return costs.weights_bytes + costs.peak_bytes + adapters_bytes + kv_bytes
