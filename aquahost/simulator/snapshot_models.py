"""Models of a simulated node as snapshots show them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from aquahost.engines.memory_desk import Part
from aquahost.messages.snapshot import ModelState, ModelView
from aquahost.messages.wire import EngineStats, Footprint
from aquahost.profiles.profile import LanguageCosts
from aquahost.simulator.gated_model import GatedModel
from aquahost.simulator.language_model import LanguageModel
from aquahost.simulator.node import Hosted, SimModel


def labels_of(hosted: Sequence[Hosted]) -> list[str]:
    """What each is called: its model's name, with a number where there are replicas."""
    names = [one.name for one in hosted]
    return [f"{name}#{names[: at + 1].count(name)}" if names.count(name) > 1 else name for at, name in enumerate(names)]


def model_view(hosted: Hosted, label: str, model: SimModel, now_s: float, *, ended_tokens: int) -> ModelView:
    """One replica; sizes are of its whole group. `ended_tokens`: produced by prompts that have ended."""
    stats = _language(model, ended_tokens, now_s) if isinstance(model, LanguageModel) else _gated(model)
    return ModelView(
        name=label,
        kind=str(hosted.settings.kind),
        source=hosted.settings.source,
        state=ModelState.READY,
        gpu=hosted.gpus[0],
        pid=None,
        restarts=0,
        reason=None,
        load=None,
        footprint=_footprint(hosted, model),
        stats=stats,
        queue=len(model.live),
        max_queue=hosted.settings.max_queue,
        ready_for_s=now_s,
        resident_bytes=None,
        pinned=hosted.settings.pin,
    )


def _footprint(hosted: Hosted, model: SimModel) -> Footprint:
    profile, group = hosted.profile, len(hosted.gpus)
    how = "measured" if profile.measured else "worked out"
    detail = f"{profile.dtype}, costs {how} for {profile.gpu}" + (f", on {group} GPUs" if group > 1 else "")
    costs = profile.costs
    if isinstance(costs, LanguageCosts) and isinstance(model, LanguageModel):
        return Footprint(
            weights_bytes=costs.weights_bytes * group,
            kv_bytes=sum(shard.kv.local_chunks * shard.kv.chunk_bytes for shard in model.parts.shards),
            peak_bytes=costs.peak_bytes * group,
            max_context=model.parts.max_tokens,
            detail=detail,
        )
    peak_bytes = 0 if isinstance(costs, LanguageCosts) else costs.sizes[-1].peak_bytes
    return Footprint(weights_bytes=costs.weights_bytes, peak_bytes=peak_bytes, detail=detail)


def _language(model: LanguageModel, ended_tokens: int, now_s: float) -> EngineStats:
    scheduler, parts = model.scheduler, model.parts
    so_far = model.so_far()
    kvs = [shard.kv for shard in parts.shards]
    coming = len(model.live) - len(scheduler.prompts)
    parked = next((parking.where for parking in parts.parkings if parking.where), "")
    came = sum(bisect_right(prompt.came_s, now_s) for prompt in model.live.values())
    return EngineStats(
        waiting=scheduler.waiting + coming,
        running=scheduler.running,
        suspended=scheduler.suspended,
        slice_s=scheduler.policy.slice_s,
        steps=model.steps + so_far.steps,
        output_tokens=ended_tokens + came + so_far.steps * scheduler.running,
        kv_blocks=min(kv.mapped_local * kv.chunk_blocks for kv in kvs),
        kv_blocks_free=min(max(0, kv.free_local) for kv in kvs),
        kv_used_bytes=sum((kv.local_used + kv.peer.used + kv.host_used) * kv.block_bytes for kv in kvs),
        weights_bytes=sum(parking.gpu_bytes for parking in parts.parkings),
        kv_bytes=sum(kv.local_bytes for kv in kvs),
        work_bytes=sum(space.nbytes for space in parts.workspaces),
        borrowed_bytes=sum(kv.borrowed_bytes for kv in kvs),
        host_bytes=sum(kv.host_used * kv.block_bytes for kv in kvs),
        parked=parked,
        busy_s=so_far.busy_s,
    )


def _gated(model: GatedModel) -> EngineStats:
    parts = model.parts
    return EngineStats(
        waiting=model.turns.waiting,
        running=model.turns.begun,
        steps=model.steps,
        weights_bytes=parts.parking.gpu_bytes,
        work_bytes=parts.desk.settled(Part.WORK),
        parked=parts.parking.where,
        busy_s=model.so_far().busy_s,
    )
