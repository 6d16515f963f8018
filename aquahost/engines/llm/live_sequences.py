"""The live prompts of a language model and the blocks they hold: what the scheduler decides is carried out here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import numpy as np

from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.block_tables import BlockTables
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost.engines.llm.kv_tiers import KvTiers
from aquahost.engines.llm.pager import Paging, UnreachableError
from aquahost.engines.llm.residence import Residence
from aquahost.engines.llm.sequence import Sequence
from aquahost.engines.llm.tiers import Tier
from aquahost.log_format import PROMPT_ID
from aquahost.messages.prompts import Output, PromptState, StateChanged
from aquahost.messages.wire import Standing
from aquahost.scheduling.plan import Growth, PageIn, StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt
from aquahost.scheduling.scheduler import Scheduler
from aquahost_cuda.copies import Direction

logger = logging.getLogger(__name__)


class LiveSequences:
    """Owns the sequences, their slots and their blocks. Not safe for threads.

    A sequence with a slot takes part in steps. One without holds nothing, or blocks in slower memory, or is on its way
    there or back, when its blocks belong to the pager until the copies have arrived.
    """

    def __init__(self, tables: BlockTables, scheduler: Scheduler, memory: KvMemory, device: EngineDevice) -> None:
        self._tables = tables
        self._scheduler = scheduler
        self._memory = memory
        self._pool = memory.pool
        self.device = device
        """The model's GPU."""
        self.read_wait_s = 0.0
        """What the last step waited for what it read in place; 0 on real GPUs, whose kernels do."""
        self._by_id: dict[str, Sequence] = {}
        self._changes: list[Output] = []
        self.tiers = KvTiers(memory, device, scheduler, residences=self._resident, lose_chunk=self._lose_chunk)

    def __contains__(self, prompt_id: str) -> bool:
        return prompt_id in self._by_id

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(list(self._by_id.values()))

    def __getitem__(self, prompt_id: str) -> Sequence:
        return self._by_id[prompt_id]

    def add(self, sequence: Sequence) -> None:
        """A prompt arrives. Raises ValueError if it could never run."""
        self._scheduler.add(sequence.scheduled)
        self._by_id[sequence.id] = sequence

    def end(self, sequence: Sequence) -> None:
        """Forget a prompt; its blocks are free, but for those that a copy under way still reads or writes."""
        del self._by_id[sequence.id]
        self._scheduler.remove(sequence.id)
        self._release(sequence)

    # -- between steps -----------------------------------------------------------------------------------------

    def tend(self, *, parked: bool, may_borrow: bool) -> None:
        """Take in the prompts that have got where they were going, and see to the memory."""
        for paging in self.tiers.pager.poll():
            self._note_cost(paging)
            self._note_hosted(self._by_id[paging.prompt_id])
            if paging.direction is Direction.OUT:
                self._scheduler.prompts.left(paging.prompt_id)
            else:
                self._seat(self._by_id[paging.prompt_id])
        failed, self.tiers.pager.failed = self.tiers.pager.failed, []
        for paging, error in failed:
            self.tiers.leases.fail(error.chunks, error.cause)
            self._scheduler.prompts.lose(paging.prompt_id)
        moves = self._memory.moves
        self.tiers.tend(parked=parked, may_borrow=may_borrow)
        if self._memory.moves != moves:
            for sequence in self._by_id.values():
                self._note_hosted(sequence)

    def take_changes(self) -> list[Output]:
        """States that changed since the last call."""
        changes, self._changes = self._changes, []
        return changes

    def standings(self) -> list[Standing]:
        """How each prompt stands: what it has had, where its KV waits, and when it may go on."""
        policy, memory = self._scheduler.policy, self._memory
        line = {place.prompt_id: place for place in policy.line()}
        found = []
        for sequence in self._by_id.values():
            place = line.get(sequence.id)
            found.append(
                Standing(
                    prompt_id=sequence.id,
                    service_s=policy.service_s(sequence.id),
                    place=memory.places_of(sequence.residence.blocks) if sequence.slot < 0 else "",
                    position=place.position if place else 0,
                    next_slice_s=place.next_slice_s if place else 0.0,
                )
            )
        return found

    # -- a step ------------------------------------------------------------------------------------------------

    def plan(self) -> StepPlan:
        """The next step, ready to be computed: its prompts have their slots and blocks."""
        clock = self.device.desk.clock
        plan = self._scheduler.plan(self.tiers.room(), clock.now_s())
        began_s = clock.now_s()
        for prompt in plan.dropped:
            self._release(self._by_id[prompt.id])
            self._tell(prompt, PromptState.SUSPENDED)
        for prompt in plan.paged_out:
            self._page_out(self._by_id[prompt.id])
        for page_in in plan.paged_in:
            self._page_in(page_in)
        if moved := len(plan.paged_out) + len(plan.paged_in):
            self.tiers.costs.note_work((clock.now_s() - began_s) / moved)
        for prompt in plan.admitted:
            self._take_slot(self._by_id[prompt.id])
            self._tell(prompt, PromptState.PREFILLING)
        unfilled = [self._grow(growth, plan) for growth in plan.grown]
        if unfilled:
            # Read before they are full; others are filled before they are read.
            self._memory.cache.clear([block for block in unfilled if block is not None])
        return plan

    def charge_reads(self, plan: StepPlan) -> None:
        """Account for what the step has read in place from slower memory, and note what it has written there."""
        self.read_wait_s = 0.0
        computed = [*plan.decodes, *(chunk.prompt for chunk in plan.chunks)]
        slots = [self._by_id[prompt.id].slot for prompt in computed if prompt.local < prompt.blocks]
        if not slots:
            return
        tables = self._tables
        loads = self._memory.remote_loads(
            np.concatenate([tables.blocks[slot, : tables.counts[slot]] for slot in slots])
        )
        if self.tiers.leases.mover.under_way:
            self.tiers.leases.mover.note_written(self._written(slots, plan))
        self._memory.traffic.read(loads)
        clock = self.device.desk.clock
        began_s = clock.now_s()
        self.device.charge_reads(loads)
        self.read_wait_s = clock.now_s() - began_s

    def _written(self, slots: list[int], plan: StepPlan) -> set[int]:
        """Blocks from the one on that held each prompt's last computed token before the step."""
        most = max([1, *(chunk.count for chunk in plan.chunks)])
        step, tables = self._memory.layout.block_tokens, self._tables
        return {
            int(block)
            for slot in slots
            for block in tables.blocks[slot, max(0, (int(tables.computed[slot]) - most) // step) : tables.counts[slot]]
        }

    # -- checks ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise AssertionError unless pool, tables, residences and scheduler agree on every block."""
        self._scheduler.check()
        tables, moving = self._tables, self.tiers.pager
        seated = [s for s in self._by_id.values() if s.slot >= 0]
        assert all(tables.held(s.slot) == s.residence.blocks for s in seated), "tables and residences differ"
        assert len({s.slot for s in seated}) == self._scheduler.running == len(seated), "slots and scheduler differ"
        for sequence in self._by_id.values():
            if not moving.is_moving(sequence.id):
                assert len(sequence.residence.blocks) == sequence.scheduled.blocks, "residence and scheduler differ"
        self._pool.check([b for s in self._by_id.values() for b in s.residence.held()] + moving.pinned_apart())

    # -- pieces ------------------------------------------------------------------------------------------------

    def _resident(self) -> Iterable[Residence]:
        return [sequence.residence for sequence in self._by_id.values() if sequence.slot >= 0]

    def _tell(self, prompt: ScheduledPrompt, state: PromptState) -> None:
        self._changes.append(StateChanged(prompt.id, state))

    def _page_out(self, sequence: Sequence) -> None:
        self._leave_slot(sequence)
        prompt = sequence.scheduled
        self._pool.release(sequence.residence.trim(self._memory.layout.blocks_for(prompt.computed)))
        self._tell(prompt, PromptState.SUSPENDED)
        try:
            self.tiers.pager.page_out(sequence.id, sequence.residence, prompt.computed)
        except (ValueError, UnreachableError) as error:
            self._give_up(sequence, error)

    def _page_in(self, page_in: PageIn) -> None:
        prompt = page_in.prompt
        sequence = self._by_id[prompt.id]
        if sequence.slot >= 0:
            self._leave_slot(sequence)
        try:
            self.tiers.pager.page_in(prompt.id, sequence.residence, prompt.computed, page_in.local)
        except (ValueError, UnreachableError) as error:
            self._give_up(sequence, error)

    def _note_cost(self, paging: Paging) -> None:
        """Learn what a link takes, from a prompt that has arrived."""
        if paging.transfer is not None and paging.runs:
            pool, run = self._pool, paging.runs[0]
            tier = pool.tier(run.target if paging.direction is Direction.OUT else run.source)
            blocks = sum(one.blocks for one in paging.runs)
            self.tiers.costs.note_transfer(tier, blocks, paging.transfer.duration_s)

    def _note_hosted(self, sequence: Sequence) -> None:
        blocks = sequence.residence.blocks
        sequence.scheduled.hosted = sum(self._pool.tier(block) is Tier.HOST for block in blocks)

    def _give_up(self, sequence: Sequence, error: Exception) -> None:
        """Paging a prompt failed before it began: it is computed again, and memory out of reach is reported."""
        logger.warning(
            "prompt %s can't be paged and is prefilled again: %s", sequence.id, error, extra={PROMPT_ID: sequence.id}
        )
        if isinstance(error, UnreachableError):
            self.tiers.leases.fail(error.chunks, error.cause)
        self._release(sequence)
        self._scheduler.prompts.lose(sequence.id)

    def _seat(self, sequence: Sequence) -> None:
        """A prompt that was paged in takes part in steps again."""
        self._take_slot(sequence)
        self._tables.append(sequence.slot, sequence.residence.blocks)
        self._tables.computed[sequence.slot] = sequence.scheduled.computed
        self._scheduler.prompts.arrived(sequence.id)
        if sequence.scheduled.remaining > 1:
            self._tell(sequence.scheduled, PromptState.PREFILLING)

    def _take_slot(self, sequence: Sequence) -> None:
        sequence.slot = self._tables.acquire()
        # A prefill of which one token is left goes on as a decode of that token.
        self._tables.last_tokens[sequence.slot] = sequence.token_ids[-1]

    def _leave_slot(self, sequence: Sequence) -> None:
        self._tables.release(sequence.slot)
        sequence.slot = -1
        sequence.is_running = False

    def _grow(self, growth: Growth, plan: StepPlan) -> int | None:
        """Give a prompt its blocks; returns the last one, or None if they could not be had and it begins again."""
        sequence = self._by_id[growth.prompt.id]
        block_ids = self._pool.allocate(growth.local, Tier.LOCAL) if growth.local else []
        try:
            block_ids += self.tiers.pager.take_remote(growth.remote) if growth.remote else []
        except ValueError as error:  # host memory that was counted on is not to be had
            self._pool.release(block_ids)
            plan.forget(growth.prompt)
            self._give_up(sequence, error)
            return None
        self._tables.append(sequence.slot, block_ids)
        sequence.residence.append(block_ids)
        if growth.remote:
            self._note_hosted(sequence)
        return block_ids[-1]

    def _lose_chunk(self, chunk: int) -> None:
        ids = self._memory.block_ids(chunk)
        for sequence in self:
            if any(block in ids for block in sequence.residence.held()):
                self._release(sequence)
                self._scheduler.prompts.lose(sequence.id)
                self._tell(sequence.scheduled, PromptState.SUSPENDED)

    def _release(self, sequence: Sequence) -> None:
        """Give back a sequence's slot and blocks, if it has any."""
        if sequence.slot >= 0:
            self._leave_slot(sequence)
        if self.tiers.pager.is_moving(sequence.id):
            self.tiers.pager.abandon(sequence.id)
            sequence.residence = Residence()
        else:
            self._pool.release(sequence.residence.clear())
