"""What the daemon's event log would say of a simulated node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aquahost.events import Event, EventKind
from aquahost.messages.snapshot import ModelView
from aquahost.simulator.node import SimNode
from aquahost.simulator.prompts import SimPrompt
from aquahost.simulator.snapshot_prompts import kind_word
from aquahost.traces.replies import Reply
from aquahost.units import counted, format_seconds

_Found = tuple[float, EventKind, str, str | None, str | None]
"""Virtual time, kind, message, model, prompt."""


class SnapshotEvents:
    """Numbers events in the order in which they happened between looks."""

    def __init__(
        self, node: SimNode, labels: Sequence[str], wall_time: Callable[[float], str], *, with_prompts: bool
    ) -> None:
        """`labels` are what the node's models are called, `wall_time` tells what a virtual time is."""
        self._node = node
        self._labels = labels
        self._wall_time = wall_time
        self._with_prompts = with_prompts
        self._of_replica: dict[tuple[str, int], int] = {}
        counts: dict[str, int] = {}
        for at, (hosted, _) in enumerate(node.models):
            replica = counts.get(hosted.name, 0)
            counts[hosted.name] = replica + 1
            self._of_replica[hosted.name, replica] = at
        self._sole = next(iter(counts)) if len(counts) == 1 else ""
        self._seen = 0
        """Of the node's own events."""
        self._parked: set[str] = set()
        self._queued: set[str] = set()
        """Live prompts whose arrival was told."""
        self._found: list[_Found] = []
        self.last_seq = 0
        """Number of the last one."""
        self._begin()

    def take(self, models: Sequence[ModelView]) -> list[tuple[float, Event]]:
        """Those since the last look, each with its virtual time; parking and waking are seen by how models stand."""
        own, self._seen = self._node.events[self._seen :], len(self._node.events)
        self._found += [(one.at_s, one.kind, one.message, one.model, None) for one in own]
        self._note_parking(models)
        if self._with_prompts:
            for at, (_, model) in enumerate(self._node.models):
                for prompt in model.live.values():
                    self._note_queued(prompt, at)
        found, self._found = sorted(self._found, key=lambda one: one[0]), []
        return [(one[0], self._numbered(*one)) for one in found]

    def ended(self, prompt: SimPrompt, reply: Reply) -> str:
        """A prompt has ended; returns what its model is called."""
        at = self._of_replica[prompt.trace.model or self._sole, prompt.replica]
        if self._with_prompts:
            self._note_queued(prompt, at)
            self._queued.discard(prompt.id)
        if self._with_prompts or reply.failure:
            kind = EventKind.PROMPT_FAILED if reply.failure else EventKind.PROMPT_FINISHED
            how = f"failed ({reply.failure})" if reply.failure else "finished"
            after = format_seconds(reply.done_s - prompt.arrived_s)
            message = f"{self._kind(at)} prompt for {self._labels[at]} {how} after {after}"
            self._found.append((reply.done_s, kind, message, self._labels[at], prompt.id))
        return self._labels[at]

    def _begin(self) -> None:
        node = self._node
        begin = f"a simulation of {counted(len(node.gpu_bytes), 'GPU')} begins; nothing of it is real"
        self._found.append((0.0, EventKind.DAEMON_STARTED, begin, None, None))
        for label, (hosted, _) in zip(self._labels, node.models, strict=True):
            where = f"GPU {hosted.gpus[0]}" if len(hosted.gpus) == 1 else f"GPUs {', '.join(map(str, hosted.gpus))}"
            self._found.append((0.0, EventKind.MODEL_READY, f"{label} is ready on {where}", label, None))

    def _note_queued(self, prompt: SimPrompt, at: int) -> None:
        if prompt.id not in self._queued:
            self._queued.add(prompt.id)
            message = f"{self._kind(at)} prompt for {self._labels[at]}"
            self._found.append((prompt.arrived_s, EventKind.PROMPT_QUEUED, message, self._labels[at], prompt.id))

    def _note_parking(self, models: Sequence[ModelView]) -> None:
        now_s = self._node.agenda.now_s()
        for model in models:
            is_parked = model.stats is not None and bool(model.stats.parked)
            if is_parked and model.name not in self._parked:
                self._parked.add(model.name)
                message = f"{model.name} is parked in host memory"
                self._found.append((now_s, EventKind.MODEL_PARKED, message, model.name, None))
            elif not is_parked and model.name in self._parked:
                self._parked.discard(model.name)
                self._found.append((now_s, EventKind.MODEL_WOKEN, f"{model.name} is awake", model.name, None))

    def _kind(self, at: int) -> str:
        return kind_word(self._node.models[at][0].settings.kind)

    def _numbered(self, at_s: float, kind: EventKind, message: str, model: str | None, prompt_id: str | None) -> Event:
        self.last_seq += 1
        at = self._wall_time(at_s)
        return Event(seq=self.last_seq, at=at, kind=kind, message=message, model=model, prompt_id=prompt_id)
