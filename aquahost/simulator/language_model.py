"""A simulated language model: the engine's loop with the real scheduler, its steps taking what the cost model says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from aquahost.messages.memory import MemoryInstruction
from aquahost.messages.prompts import PromptState
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.scheduling.room import Room
from aquahost.scheduling.step_shape import shape_of
from aquahost.simulator.agenda import Agenda, Entry
from aquahost.simulator.gpu_turns import GpuTurns
from aquahost.simulator.kv_traffic import KvTraffic
from aquahost.simulator.language_parts import LanguageParts
from aquahost.simulator.lending import MESSAGE_S, SimLending
from aquahost.simulator.prompts import SimPrompt, SoFar
from aquahost.simulator.stretch import Stretch

IDLE_LOOK_S = 0.5
"""How often an engine without prompts sees to its memory."""
BUSY_LOOK_S = 0.01
"""How often one looks again whose prompts can do nothing."""


class LanguageModel:
    """Owns its live prompts. Between two steps it does what the engine does, in the engine's order."""

    def __init__(
        self, parts: LanguageParts, agenda: Agenda, lending: SimLending, ended: Callable[[SimPrompt, str], None]
    ) -> None:
        """`ended` is told of each prompt that is through, with why it failed."""
        self.parts = parts
        self.name = parts.name
        self._agenda = agenda
        self._lending = lending
        self._ended = ended
        self.scheduler = parts.scheduler
        self.live: dict[str, SimPrompt] = {}
        self.traffic = KvTraffic(parts.shards, parts.scheduler, parts.costs.transfer_s, self.wake)
        self._slots = [turns.join(self.wake) for turns in parts.turns]
        self._stretch: Stretch | None = None
        self._is_stepping = False
        self._step_began_s = 0.0
        self._next: Entry | None = None
        self.steps = 0
        self.busy_s = 0.0

    def so_far(self) -> SoFar:
        """For whoever looks on."""
        now_s, stretch = self._agenda.now_s(), self._stretch
        if stretch is not None:
            ended = stretch.done_by(now_s - MESSAGE_S)
            return SoFar(self.busy_s + now_s - stretch.began_s, ended, stretch.ends_s[0] + MESSAGE_S)
        return SoFar(self.busy_s + (now_s - self._step_began_s if self._is_stepping else 0.0))

    # -- prompts -----------------------------------------------------------------------------------------------

    def submit(self, prompt: SimPrompt, *, weight: float = 1.0, level: int = 0) -> None:
        """A prompt arrives."""
        trace = prompt.trace
        if len(self.live) >= self.parts.max_queue:
            self._ended(prompt, "429: queue full")
            return
        scheduled = ScheduledPrompt(
            id=prompt.id,
            tenant=trace.tenant,
            weight=weight,
            level=level,
            tokens=trace.input_tokens,
            max_tokens=trace.tokens,
        )
        if trace.tokens > self.parts.max_tokens:
            self._ended(prompt, f"400: {trace.tokens} tokens; at most {self.parts.max_tokens} fit")
            return
        self.live[prompt.id] = prompt
        if trace.adapter is None or self.parts.adapters is None:
            self._queue(scheduled)
        else:
            self.parts.adapters.need(trace.adapter, partial(self._queue, scheduled))

    def _queue(self, scheduled: ScheduledPrompt) -> None:
        self.scheduler.add(scheduled)
        self.wake()

    def on_memory(self, shard: int, message: MemoryInstruction) -> None:
        """The broker's word to one of the group's workers."""
        if not self.parts.shards[shard].desk.on_memory(message):
            self.parts.shards[shard].on_memory(message)
        self.wake()

    def wake(self) -> None:
        """Something has changed: see to it once the step that is under way has ended."""
        if self._stretch is not None:
            self._stretch.cut_short()
        elif not self._is_stepping:
            self._look_at(self._agenda.now_s())

    # -- the loop ----------------------------------------------------------------------------------------------

    def tend(self) -> None:
        """See to memory and weights, and tell the broker."""
        parts, busy = self.parts, bool(self.live)
        for shard, workspace, parking in zip(parts.shards, parts.workspaces, parts.parkings, strict=True):
            parking.tend(busy=busy)
            if not busy:
                workspace.rest()
            elif parking.is_awake:
                workspace.want(parts.work_bytes)
            shard.tend(parked=not parking.is_awake)
        self.report()

    def report(self) -> None:
        """Tell the broker what there is to tell."""
        for worker_id, shard in zip(self.parts.worker_ids, self.parts.shards, strict=True):
            self._lending.report(worker_id, shard.desk.take_reports())

    def _look_at(self, at_s: float) -> None:
        if self._next is not None:
            if self._next.action is not None and self._next.at_s <= at_s:
                return
            self._next.cancel()
        self._next = self._agenda.at(at_s, self._look)

    def _look(self) -> None:
        if self._is_stepping or self._stretch is not None:
            return
        self.tend()
        if not self.live:
            self._rest()
            return
        if not all(parking.is_awake for parking in self.parts.parkings):
            self._leave_turns()
            return
        if not all(workspace.want(self.parts.work_bytes) for workspace in self.parts.workspaces):
            self._leave_turns()
            return
        if all(turns.take(slot) for turns, slot in self._turns()):
            self._compute()

    def _compute(self) -> None:
        room = self._room()
        is_contended = any(turns.is_contended for turns in self.parts.turns)
        steady = 0 if is_contended or self.traffic.under_way else self.scheduler.steady_steps(room)
        if steady > 1:
            self._begin_stretch(steady)
            return
        plan = self.scheduler.plan(room, self._agenda.now_s())
        self.traffic.carry_out(plan, self._agenda.now_s())
        self._tell_states(plan)
        if plan.is_empty:
            self._leave_turns()
            self._look_at(self._agenda.now_s() + BUSY_LOOK_S)
            return
        compute_s = self.parts.costs.step.seconds(shape_of(plan)) + self._besides_s(plan)
        self._is_stepping, self._step_began_s = True, self._agenda.now_s()
        self._agenda.after(compute_s, partial(self._end_compute, plan))

    def _end_compute(self, plan: StepPlan) -> None:
        """What the step reads in place takes its time beside the copies on the same ways, and comes on top."""
        parts = self.traffic.reads([*plan.decodes, *(chunk.prompt for chunk in plan.chunks)])
        if parts:
            self.traffic.links.copy(parts, partial(self._end_step, plan))
        else:
            self._end_step(plan)

    def _end_step(self, plan: StepPlan) -> None:
        self._is_stepping = False
        took_s = self._agenda.now_s() - self._step_began_s
        computed = [*plan.decodes, *(chunk.prompt for chunk in plan.chunks if chunk.completes)]
        self.scheduler.commit(plan, took_s)
        came_s = self._agenda.now_s() + MESSAGE_S
        for one in computed:
            prompt = self.live.get(one.id)
            if prompt is not None:
                prompt.state = PromptState.RUNNING
                prompt.came_s.append(came_s)
                if one.tokens >= one.max_tokens:
                    self._end(prompt)
        self._stepped(1, took_s)
        self._look()

    def _rest(self) -> None:
        self._leave_turns()
        for shard in self.parts.shards:
            shard.mapping_s = 0.0  # nobody waited for it
        parts, now_s = self.parts, self._agenda.now_s()
        is_settled = all(shard.is_settled for shard in parts.shards) and not any(one.nbytes for one in parts.workspaces)
        park_s = min(parking.due_in_s for parking in parts.parkings)
        if not is_settled:
            self._look_at(now_s + IDLE_LOOK_S)
        elif park_s < float("inf"):
            self._look_at(now_s + max(park_s, BUSY_LOOK_S))

    # -- many steps at once ------------------------------------------------------------------------------------

    def _begin_stretch(self, steps: int) -> None:
        running = self.scheduler.prompts.running
        self._stretch = Stretch(
            self._agenda,
            self.parts.costs.step,
            steps,
            decodes=len(running),
            context=sum(prompt.tokens for prompt in running),
            ended=self._end_stretch,
        )

    def _end_stretch(self) -> None:
        stretch, self._stretch = self._stretch, None
        assert stretch is not None
        running = list(self.scheduler.prompts.running)
        self.scheduler.advance(stretch.took_s)
        came_s = [end_s + MESSAGE_S for end_s in stretch.ends_s]
        for prompt in running:
            self.live[prompt.id].came_s.extend(came_s)
        for shard in self.parts.shards:
            shard.kv.fill({prompt.id: prompt.blocks for prompt in running})
        self._stepped(len(came_s), stretch.ends_s[-1] - stretch.began_s)
        self._look()

    # -- pieces ------------------------------------------------------------------------------------------------

    def _turns(self) -> Iterator[tuple[GpuTurns, int]]:
        return zip(self.parts.turns, self._slots, strict=True)

    def _stepped(self, steps: int, took_s: float) -> None:
        self.steps += steps
        self.busy_s += took_s
        for turns, slot in self._turns():
            turns.stepped(slot, took_s)

    def _leave_turns(self) -> None:
        for turns, slot in self._turns():
            turns.leave(slot)

    def _room(self) -> Room:
        shards = self.parts.shards
        rooms = [shard.kv.remote_rooms() for shard in shards]
        return Room(
            min([shard.kv.free_local for shard in shards]),
            min([remote for remote, _ in rooms]),
            more=any(shard.sizer.more_is_coming for shard in shards),
            in_haste=any(shard.is_recalled for shard in shards),
            peer=min([peer for _, peer in rooms]),
            costs=self.traffic.costs(),
        )

    def _besides_s(self, plan: StepPlan) -> float:
        """What a step takes beside computing and reading: handing over copies, mapping memory."""
        moves_s = self.parts.costs.transfer_s * (len(plan.paged_out) + len(plan.paged_in))
        mapping_s = max(shard.mapping_s for shard in self.parts.shards)
        for shard in self.parts.shards:
            shard.mapping_s = 0.0
        return moves_s + mapping_s

    def _tell_states(self, plan: StepPlan) -> None:
        for one in [*plan.dropped, *plan.paged_out]:
            self.live[one.id].state = PromptState.SUSPENDED if one.has_begun else PromptState.WAITING
        for one in plan.admitted:
            self.live[one.id].state = PromptState.PREFILLING

    def _end(self, prompt: SimPrompt) -> None:
        del self.live[prompt.id]
        prompt.service_s = self.scheduler.policy.service_s(prompt.id)
        self.scheduler.remove(prompt.id)
        self.traffic.forget(prompt.id)
        if prompt.trace.adapter is not None and self.parts.adapters is not None:
            self.parts.adapters.done(prompt.trace.adapter)
        self._ended(prompt, "")

    def lose(self, prompt_id: str) -> None:
        """A prompt's blocks are gone; it is prefilled again."""
        for shard in self.parts.shards:
            shard.kv.release(prompt_id)
        if prompt_id in self.live:
            self.traffic.forget(prompt_id)
            self.scheduler.prompts.lose(prompt_id)
            self.live[prompt_id].state = PromptState.SUSPENDED

    def check(self) -> None:
        """Raise AssertionError unless scheduler and memory agree on every block."""
        self.scheduler.check()
        for shard in self.parts.shards:
            shard.kv.check()
            for one in self.scheduler.prompts.by_arrival:
                holding = shard.kv.holdings.get(one.id)
                held = (
                    0 if holding is None else holding.remote.total() + holding.local * (one.stand is not Stand.LEAVING)
                )
                assert held == one.blocks or one.stand is Stand.LEAVING, f"{one.id} holds {held}, not {one.blocks}"
