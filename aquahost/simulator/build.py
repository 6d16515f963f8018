"""Makes a simulated node of settings, profiles and a placement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from aquahost.config.settings import LeasingSettings, Settings
from aquahost.engines.memory_desk import MemoryDesk, Part
from aquahost.errors import ConfigError
from aquahost.messages.memory import MemoryInstruction
from aquahost.profiles.profile import GatedCosts, LanguageCosts
from aquahost.scheduling.policies import make_policy
from aquahost.scheduling.policy import Policy
from aquahost.scheduling.scheduler import Scheduler
from aquahost.scheduling.sizes import Sizes
from aquahost.simulator.adapters import Adapters
from aquahost.simulator.gated_model import GatedModel, GatedParts
from aquahost.simulator.kv_shard import KvShard
from aquahost.simulator.language_model import LanguageModel
from aquahost.simulator.language_parts import LanguageParts
from aquahost.simulator.language_shard import LanguageShard
from aquahost.simulator.lending import Coordinator, make_broker
from aquahost.simulator.links import Wiring
from aquahost.simulator.node import Hosted, SimNode
from aquahost.simulator.weights_parking import WeightsParking
from aquahost.simulator.workspace import SimWorkspace
from aquahost.units import MIB, format_bytes

_GRANULE_BYTES = 2 * MIB
REAL_CHUNK_BYTES = 64 * MIB
EMULATED_CHUNK_BYTES = 2 * MIB
_KV_SHARE = 0.8
"""Of what weights and activations leave of a GPU, where an entry does not say how much KV memory it has."""
_TIMES_LOCAL = 4

PolicyMaker = Callable[[str], Policy]


class _Worker:
    """Passes the broker's words on to a model that is being built."""

    def __init__(self) -> None:
        self.hear: Callable[[MemoryInstruction], None] = lambda message: None

    def on_memory(self, message: MemoryInstruction) -> None:
        """The broker's word."""
        self.hear(message)

    def on_killed(self, reason: str) -> None:
        """A simulated worker is never stuck: it is late only where links are so crowded that a real one would be."""
        raise RuntimeError(f"a worker {reason}")


class Builder:
    """Puts the models of one node together."""

    def __init__(
        self,
        settings: Settings,
        wiring: Wiring,
        gpu_bytes: Sequence[int],
        *,
        chunk_bytes: int = REAL_CHUNK_BYTES,
        coordinator: Coordinator | None = None,
        make_policy: PolicyMaker | None = None,
        keeps_leases: bool = False,
    ) -> None:
        """`coordinator` and `make_policy` are the daemon's own unless others are given. `keeps_leases`: borrowers give
        nothing back unasked."""
        self._keeps_leases = keeps_leases
        self._settings = settings
        self._chunk_bytes = chunk_bytes
        self._policy = make_policy or self._own_policy
        self.node = SimNode(settings, wiring, gpu_bytes, coordinator or make_broker(settings.leasing))
        self._worker_ids = count(1)

    def build(self, hosted: Sequence[Hosted]) -> SimNode:
        """Host these. Raises ConfigError where they don't fit."""
        kv_bytes = self._kv_bytes(hosted)
        for one, nbytes in zip(hosted, kv_bytes, strict=True):
            costs = one.profile.costs
            model = self._gated(one, costs) if isinstance(costs, GatedCosts) else self._language(one, costs, nbytes)
            self.node.add(one, model)
        for _ in range(3):  # claims, their answers, and what follows from them
            for _, model in self.node.models:
                model.report()
        self.node.check()
        self.node.lending.started()
        for _, model in self.node.models:
            model.wake()
        return self.node

    # -- memory ------------------------------------------------------------------------------------------------

    def _kv_bytes(self, hosted: Sequence[Hosted]) -> list[int]:
        """KV memory of each on each of its GPUs. Activations of image and audio models come and go, and KV memory gives
        way to them; those of language models are there while they run."""
        free = list(self.node.gpu_bytes)
        open_ones = [0] * len(free)
        for one in hosted:
            costs = one.profile.costs
            is_language = isinstance(costs, LanguageCosts)
            fixed = (one.settings.kv_bytes or 0) if is_language else 0
            traffic = one.settings.traffic
            peak = costs.peak_bytes if isinstance(costs, LanguageCosts) else costs.sizes[-1].peak_bytes
            peak += traffic.adapter_slots * traffic.adapter_bytes if traffic.adapters else 0
            for gpu in one.gpus:
                free[gpu] -= costs.weights_bytes + (peak if is_language else 0) + fixed
                open_ones[gpu] += is_language and one.settings.kv_bytes is None
        for gpu, left in enumerate(free):
            if left < 0:
                raise ConfigError(f"the models of GPU {gpu} need {format_bytes(-left)} more than it has")
        shares = [int(_KV_SHARE * left) // max(1, ones) for left, ones in zip(free, open_ones, strict=True)]
        return [
            min(shares[gpu] for gpu in one.gpus) if one.settings.kv_bytes is None else one.settings.kv_bytes
            for one in hosted
        ]

    def _desk(self) -> MemoryDesk:
        leasing: LeasingSettings = self._settings.leasing
        # Whether there is an exchange says only whether anyone lends; reports are taken from the desk by its model.
        return MemoryDesk(leasing, self.node.agenda, exchange=(lambda reports: []) if leasing.enabled else None)

    def _join(self, name: str, gpu: int) -> tuple[int, _Worker]:
        worker_id, worker = next(self._worker_ids), _Worker()
        self.node.lending.join(worker_id, name, gpu, worker)
        return worker_id, worker

    # -- models ------------------------------------------------------------------------------------------------

    def _language(self, hosted: Hosted, costs: LanguageCosts, kv_bytes: int) -> LanguageModel:
        settings, scheduling = hosted.settings, self._settings.scheduler
        block_bytes = costs.kv_token_bytes * settings.block_tokens
        unit = math.lcm(block_bytes, _GRANULE_BYTES)
        chunk_bytes = -(-self._chunk_bytes // unit) * unit
        if kv_bytes < block_bytes:
            raise ConfigError(f"{hosted.name}: {format_bytes(kv_bytes)} of KV memory hold no block")

        def asked(nbytes: int | None) -> int:
            local = -(-kv_bytes // chunk_bytes) * chunk_bytes
            return _TIMES_LOCAL * local if nbytes is None else nbytes

        kvs = [
            KvShard(
                block_bytes=block_bytes,
                block_tokens=settings.block_tokens,
                chunk_bytes=chunk_bytes,
                local_bytes=kv_bytes,
                borrow_bytes=asked(settings.borrow_bytes) if self._settings.leasing.enabled else 0,
                host_bytes=asked(settings.host_kv_bytes),
            )
            for _ in hosted.gpus
        ]
        sizes = Sizes(
            most_blocks=min(kvs[0].sure_blocks, -(-costs.context_tokens // settings.block_tokens)),
            block_tokens=settings.block_tokens,
            step_tokens=scheduling.step_tokens,
            max_batch=scheduling.max_batch,
        )
        scheduler = Scheduler(sizes, self._policy(settings.policy or scheduling.policy))
        return self._assembled(hosted, costs, kvs, scheduler)

    def _assembled(
        self, hosted: Hosted, costs: LanguageCosts, kvs: Sequence[KvShard], scheduler: Scheduler
    ) -> LanguageModel:
        node = self.node
        model: LanguageModel
        joined = [self._join(hosted.name, gpu) for gpu in hosted.gpus]
        shards, parkings = [], []
        for gpu, kv in zip(hosted.gpus, kvs, strict=True):
            desk = self._desk()
            shard = LanguageShard(
                gpu,
                kv,
                desk,
                scheduler,
                node.links,
                lose=lambda prompt_id: model.lose(prompt_id),
                woken=lambda: model.wake(),
                keeps_leases=self._keeps_leases,
            )
            shards.append(shard)
            parkings.append(self._parking(hosted, desk, gpu, partial(_lies_idle, shard), lambda: model.wake()))
            desk.claim(Part.KV, kv.local_bytes)
        model = LanguageModel(
            LanguageParts(
                name=hosted.name,
                costs=costs,
                scheduler=scheduler,
                worker_ids=tuple(worker_id for worker_id, _ in joined),
                shards=tuple(shards),
                workspaces=tuple(SimWorkspace(shard.desk) for shard in shards),
                parkings=tuple(parkings),
                turns=tuple(node.turns[gpu] for gpu in hosted.gpus),
                max_queue=hosted.settings.max_queue,
                max_tokens=min(scheduler.max_tokens, _context_tokens(hosted, costs)),
                adapters=self._adapters(hosted),
            ),
            node.agenda,
            node.lending,
            node.ended,
        )
        for at, (_, worker) in enumerate(joined):
            worker.hear = partial(model.on_memory, at)
        return model

    def _adapters(self, hosted: Hosted) -> Adapters | None:
        traffic = hosted.settings.traffic
        if not traffic.adapters:
            return None
        gpu = hosted.gpus[0]
        adapters = Adapters(
            self.node.links, gpu, count=traffic.adapters, nbytes=traffic.adapter_bytes, slots=traffic.adapter_slots
        )
        if self._settings.leasing.enabled:
            adapters.borrow(self.node.lending, next(self._worker_ids), f"{hosted.name} adapters")
        return adapters

    def _gated(self, hosted: Hosted, costs: GatedCosts) -> GatedModel:
        (gpu,) = hosted.gpus
        worker_id, worker = self._join(hosted.name, gpu)
        model: GatedModel
        desk = self._desk()
        parts = GatedParts(
            name=hosted.name,
            costs=costs,
            gpu=gpu,
            worker_id=worker_id,
            desk=desk,
            parking=self._parking(hosted, desk, gpu, lambda: not model.workspace.nbytes, lambda: model.wake()),
            turns=self.node.turns[gpu],
            policy=hosted.settings.policy or self._settings.scheduler.policy,
            max_begun=hosted.settings.max_concurrent,
            max_queue=hosted.settings.max_queue,
        )
        model = GatedModel(parts, self.node.agenda, self.node.lending, self.node.ended)
        worker.hear = model.on_memory
        return model

    def _parking(
        self, hosted: Hosted, desk: MemoryDesk, gpu: int, ready: Callable[[], bool], woken: Callable[[], None]
    ) -> WeightsParking:
        return WeightsParking(
            desk,
            self.node.links,
            gpu,
            hosted.profile.weights_bytes,
            pin=hosted.settings.pin,
            ready_to_park=ready,
            woken=woken,
        )

    def _own_policy(self, name: str) -> Policy:
        return make_policy(name, paging_budget=self._settings.scheduler.paging_budget)


def _context_tokens(hosted: Hosted, costs: LanguageCosts) -> int:
    return min(hosted.settings.max_context or costs.context_tokens, costs.context_tokens)


def _lies_idle(shard: LanguageShard) -> bool:
    return shard.lies_idle
