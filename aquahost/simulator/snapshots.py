"""A simulated node as the daemon shows itself: snapshots and events, for recordings that the terminal UI replays."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from aquahost import __version__
from aquahost.daemon.first_tokens import FirstTokens
from aquahost.daemon.tenant_totals import TenantTotals
from aquahost.events import Event
from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import (
    SCHEMA_VERSION,
    FlowView,
    GpuView,
    LeaseView,
    LinkView,
    ModelView,
    PromptView,
    Snapshot,
)
from aquahost.simulator.language_model import LanguageModel
from aquahost.simulator.links import HOST, Switched
from aquahost.simulator.node import SimNode
from aquahost.simulator.occupancy import gpu_memory
from aquahost.simulator.prompts import SimPrompt
from aquahost.simulator.snapshot_events import SnapshotEvents
from aquahost.simulator.snapshot_models import labels_of, model_view
from aquahost.simulator.snapshot_prompts import PromptViews, tenant_of
from aquahost.traces.replies import Reply

DRIVER = "simulated"
_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)
"""Wall-clock time of virtual time 0: the same in every simulation, and nobody takes it for the present."""


def wall_time(at_s: float) -> str:
    """A virtual time as the wall clock of its node has it, RFC 3339 in UTC."""
    at = _BEGIN + timedelta(seconds=at_s)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Snapshots:
    """Looks at a node while it runs, from its begin on. What is told of the last second elsewhere, like utilisation and
    flows, is of the time since the last look here."""

    def __init__(self, node: SimNode, *, with_prompt_events: bool = True) -> None:
        """Before the node has begun. `with_prompt_events`: tell of each prompt's begin and end."""
        self._node = node
        self._labels = labels_of([hosted for hosted, _ in node.models])
        self._workers = {
            worker_id: label
            for label, (_, model) in zip(self._labels, node.models, strict=True)
            for worker_id in (model.parts.worker_ids if isinstance(model, LanguageModel) else (model.parts.worker_id,))
        }
        self._events = SnapshotEvents(node, self._labels, wall_time, with_prompts=with_prompt_events)
        self._prompts = PromptViews()
        self._first = FirstTokens()
        self._begun: set[str] = set()
        """Live prompts that have begun."""
        self._news: list[tuple[float, float]] = []
        """When prompts that begun since the last look did, and how long they had waited."""
        self._tenants = TenantTotals({name: tenant.weight for name, tenant in node.settings.tenants.items()})
        self._ended_tokens: Counter[str] = Counter()
        self._seen_s = 0.0
        self._busy_s: dict[int, float] = {}
        self._moved: Counter[tuple[int, int]] = Counter()
        self._links = _links(node)
        node.on_ended = self._ended

    def look(self) -> tuple[list[tuple[float, Event]], Snapshot]:
        """The events since the last look, each with its virtual time, and the node now."""
        node, now_s = self._node, self._node.agenda.now_s()
        passed_s, self._seen_s = now_s - self._seen_s, now_s
        prompts = [
            view
            for label, (hosted, model) in zip(self._labels, node.models, strict=True)
            for view in self._prompts.of_model(hosted, label, model, now_s)
        ]
        models = [
            model_view(hosted, label, model, now_s, ended_tokens=self._ended_tokens[label])
            for label, (hosted, model) in zip(self._labels, node.models, strict=True)
        ]
        events = self._events.take(models)
        self._note_first(prompts, now_s)
        leases = self._leases(now_s)
        return events, Snapshot(
            schema_version=SCHEMA_VERSION,
            at=wall_time(now_s),
            version=__version__,
            run_id=DRIVER,
            pid=0,
            driver=DRIVER,
            uptime_s=now_s,
            draining=False,
            gpus=self._gpus(models, leases, passed_s),
            models=models,
            prompts=prompts,
            leasing=node.settings.leasing.enabled,
            leases=leases,
            links=self._links,
            flows=self._flows(passed_s),
            tenants=self._tenants.views(prompts),
            first_tokens=self._first.view(now_s),
            last_event_seq=self._events.last_seq,
        )

    # -- parts -------------------------------------------------------------------------------------------------

    def _gpus(self, models: list[ModelView], leases: list[LeaseView], passed_s: float) -> list[GpuView]:
        node = self._node
        names: dict[int, list[str]] = {}
        grown: dict[int, float] = {}
        for (hosted, _), view in zip(node.models, models, strict=True):
            busy_s = view.stats.busy_s if view.stats is not None else 0.0
            for gpu in hosted.gpus:
                names.setdefault(gpu, []).append(view.name)
                grown[gpu] = grown.get(gpu, 0.0) + busy_s
        before, self._busy_s = self._busy_s, grown
        name = _gpu_name(node)
        return [
            GpuView(
                index=gpu,
                uuid=f"SIM-{gpu}",
                name=name,
                total_bytes=memory.total,
                free_bytes=memory.free,
                weights_bytes=memory.weights,
                kv_bytes=memory.kv,
                work_bytes=memory.work,
                lent_bytes=memory.lent,
                borrowed_bytes=sum(one.nbytes for one in leases if one.borrower_gpu == gpu),
                other_bytes=0,
                models=names.get(gpu, []),
                utilisation=_share(grown[gpu] - before.get(gpu, 0.0), passed_s) if gpu in grown else None,
            )
            for gpu, memory in enumerate(gpu_memory(node))
        ]

    def _leases(self, now_s: float) -> list[LeaseView]:
        ledger = self._node.lending.coordinator.ledger
        return [
            LeaseView(
                id=lease.id,
                donor=lease.donor,
                borrower=self._workers.get(lease.borrower, ledger.workers[lease.borrower].name),
                borrower_gpu=ledger.workers[lease.borrower].gpu,
                nbytes=lease.nbytes,
                recalled_bytes=lease.recalled_bytes,
                state=lease.state,
                age_s=now_s - lease.granted_s,
                deadline_in_s=None if lease.deadline_s is None else lease.deadline_s - now_s,
            )
            for lease in sorted(ledger.leases.values(), key=lambda lease: lease.id)
        ]

    def _flows(self, passed_s: float) -> list[FlowView]:
        moved = self._node.links.moved_so_far()
        before, self._moved = self._moved, moved
        grown = {ends: nbytes - before[ends] for ends, nbytes in sorted(moved.items())}
        return [
            FlowView(source=source, target=target, bytes_per_s=nbytes / passed_s)
            for (source, target), nbytes in grown.items()
            if nbytes > 0 and passed_s > 0
        ]

    # -- what happens between two looks ------------------------------------------------------------------------

    def _ended(self, prompt: SimPrompt, reply: Reply) -> None:
        label = self._events.ended(prompt, reply)
        self._ended_tokens[label] += reply.output_tokens
        self._prompts.forget(prompt.id)
        if prompt.id not in self._begun and prompt.came_s:
            self._news.append((prompt.came_s[0], prompt.came_s[0] - prompt.arrived_s))
        self._begun.discard(prompt.id)
        self._tenants.ended(
            PromptView(
                id=prompt.id,
                model=label,
                tenant=tenant_of(prompt),
                kind="",
                state=PromptState.RUNNING,
                age_s=0.0,
                input_tokens=0,
                output_tokens=reply.output_tokens,
                steps_done=None,
                steps=None,
                first_token_s=None,
                service_s=prompt.service_s,
            )
        )

    def _note_first(self, prompts: list[PromptView], now_s: float) -> None:
        for view in prompts:
            if view.first_token_s is not None and view.id not in self._begun:
                self._begun.add(view.id)
                self._news.append((now_s - view.age_s + view.first_token_s, view.first_token_s))
        for began_s, waited_s in sorted(self._news):
            self._first.note(waited_s, began_s)
        self._news = []


def _share(busy_s: float, passed_s: float) -> float:
    return min(1.0, max(0.0, busy_s / passed_s)) if passed_s > 0 else 0.0


def _gpu_name(node: SimNode) -> str:
    wiring = node.links.wiring
    return f"{wiring.node.sheet.name}, simulated" if isinstance(wiring, Switched) else "emulated GPU, simulated"


def _links(node: SimNode) -> list[LinkView]:
    """Every direction there is, as fast as it is alone."""
    ends = [HOST, *range(len(node.gpu_bytes))]
    is_switched = isinstance(node.links.wiring, Switched)
    return [
        LinkView(
            source=source,
            target=target,
            usable=True,
            reason=("PCIe" if HOST in (source, target) else "NVLink") if is_switched else "emulated",
            bytes_per_s=node.links.rate(source, target),
        )
        for source in ends
        for target in ends
        if source != target
    ]
