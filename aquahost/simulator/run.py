"""One trace on one simulated node under one policy and tier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aquahost.config.settings import Kind, Policy, Settings
from aquahost.simulator.aqua.build import build_aqua
from aquahost.simulator.aqua.coordinator import Pair
from aquahost.simulator.build import REAL_CHUNK_BYTES, Builder
from aquahost.simulator.language_model import LanguageModel
from aquahost.simulator.lending import MESSAGE_S
from aquahost.simulator.links import Wiring
from aquahost.simulator.node import Hosted, SimEvent, SimNode
from aquahost.simulator.occupancy import Occupancy
from aquahost.traces.replies import Reply, Row, row
from aquahost.traces.trace import Trace

AQUA = "aqua"
"""AQUA's own policies, as a peer."""
POLICIES = (*(policy.value for policy in Policy), AQUA)
TIERS = ("recompute", "host", "peer")
AS_CONFIGURED = "as configured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is simulated: GPUs and how they are linked."""

    name: str
    gpu_bytes: tuple[int, ...]
    wiring: Wiring
    chunk_bytes: int = REAL_CHUNK_BYTES
    request_s: float = MESSAGE_S
    """From a client's sending a prompt until the model's worker has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What came of it."""

    policy: str
    tier: str
    total: Row
    """Of all models together."""
    by_model: Mapping[str, Row]
    busy: Mapping[str, float]
    """Of each model: the share of the time in which it computed; replicas' mean."""
    gpu_busy: Sequence[float]
    """Of each GPU: the share of the time in which it computed."""
    replies: Sequence[Reply]
    occupancy: Occupancy
    events: Sequence[SimEvent]
    took_s: float
    """Virtual time."""


@dataclass(slots=True)
class Watch:
    """Who is told what while a node runs."""

    progress: Callable[[float, int], None] | None = None
    """Virtual time, prompts ended."""
    looks: list[tuple[float, Callable[[SimNode], None]]] = field(default_factory=list)
    """What is called how often, in virtual seconds."""


def simulate(
    settings: Settings,
    hosted: Sequence[Hosted],
    machine: Machine,
    trace: Trace,
    *,
    policy: str,
    tier: str,
    watch: Watch | None = None,
    look_every_s: float | None = None,
    pairs: Sequence[Pair] | None = None,
) -> Simulated:
    """Run a trace. `look_every_s`: of the occupancy; about 500 looks unless given. `pairs`: who lends to whom under the
    policy "aqua".

    Raises ConfigError where the models don't fit, ValueError for prompts to models that are not here.
    """
    watch = watch or Watch()
    settings = under(settings, policy, tier)
    hosted = [
        Hosted(name=one.name, settings=settings.models[one.name], profile=one.profile, gpus=one.gpus) for one in hosted
    ]
    if policy == AQUA:
        wiring, chunk_bytes = machine.wiring, machine.chunk_bytes
        node = build_aqua(settings, hosted, wiring, machine.gpu_bytes, chunk_bytes=chunk_bytes, pairs=pairs)
    else:
        node = Builder(settings, machine.wiring, machine.gpu_bytes, chunk_bytes=machine.chunk_bytes).build(hosted)
    node.request_s = machine.request_s
    occupancy = Occupancy()
    last_s = max((prompt.arrival_s for prompt in trace.prompts), default=0.0)
    node.every(look_every_s or max(0.1, last_s / 500), lambda: occupancy.look(node))
    for period_s, look in watch.looks:
        node.every(period_s, lambda look=look: look(node))  # type: ignore[misc]
    replies = node.run(trace, watch.progress)
    node.check()
    return summary(node, replies, policy, tier, occupancy)


def under(settings: Settings, policy: str, tier: str) -> Settings:
    """These settings under a policy and a tier: "recompute" has nowhere to page to, "host" no neighbours.

    Under `AS_CONFIGURED` each model keeps the policy of its entry.
    """
    own: dict[str, None] = {} if policy == AS_CONFIGURED else {"policy": None}
    changes: dict[str, int] = {}
    if tier != "peer":
        changes["borrow_bytes"] = 0
    if tier == "recompute":
        changes["host_kv_bytes"] = 0
    models = {
        name: model.model_copy(update=own | (changes if model.kind is Kind.LLM else {}))
        for name, model in settings.models.items()
    }
    scheduler = settings.scheduler
    if policy not in (AQUA, AS_CONFIGURED):
        scheduler = scheduler.model_copy(update={"policy": Policy(policy)})
    leasing = settings.leasing.model_copy(update={"enabled": tier == "peer" and settings.leasing.enabled})
    return settings.model_copy(update={"models": models, "scheduler": scheduler, "leasing": leasing})


def summary(node: SimNode, replies: Sequence[Reply], policy: str, tier: str, occupancy: Occupancy) -> Simulated:
    """The figures of a node that has run."""
    paged: dict[str, int] = {}
    busy: dict[str, list[float]] = {}
    for hosted, model in node.models:
        if isinstance(model, LanguageModel):
            paged[hosted.name] = paged.get(hosted.name, 0) + model.traffic.paged_bytes
        busy.setdefault(hosted.name, []).append(model.busy_s)
    sole = next(iter(busy)) if len(busy) == 1 else ""
    took_s = max((reply.done_s for reply in replies), default=0.0)
    by_model = {
        name: row(policy, tier, [one for one in replies if (one.prompt.model or sole) == name], paged.get(name))
        for name in busy
    }
    return Simulated(
        policy=policy,
        tier=tier,
        total=row(policy, tier, replies, sum(paged.values())),
        by_model=by_model,
        busy={name: sum(times) / len(times) / max(took_s, 1e-9) for name, times in busy.items()},
        gpu_busy=[min(1.0, turns.busy_s / max(took_s, 1e-9)) for turns in node.turns],
        replies=replies,
        occupancy=occupancy,
        events=node.events,
        took_s=took_s,
    )
