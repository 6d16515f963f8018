"""FCFS scheduling: no block is lost, everyone finishes, the step's budget holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.scheduling.fcfs import HASTY_STEP_TOKENS, FcfsScheduler, Room
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt, Stand


class Host:
    """A scheduler and the blocks it schedules: `local` ones on the GPU and `remote` ones in slower memory."""

    def __init__(
        self,
        *,
        local: int = 8,
        remote: int = 0,
        block_tokens: int = 4,
        step_tokens: int = 16,
        max_batch: int = 8,
        headroom_tokens: int = 8,
        copy_steps: int = 0,
    ) -> None:
        self.local, self.remote, self.block_tokens = local, remote, block_tokens
        self.scheduler = FcfsScheduler(
            most_blocks=local + remote,
            block_tokens=block_tokens,
            step_tokens=step_tokens,
            max_batch=max_batch,
            headroom_tokens=headroom_tokens,
        )
        self.copy_steps = copy_steps
        """Steps that paging a prompt out or in takes."""
        self.live: dict[str, ScheduledPrompt] = {}
        self.moving: dict[str, tuple[Stand, int]] = {}
        self.step = 0

    def add(self, prompt: ScheduledPrompt) -> None:
        self.scheduler.add(prompt)
        self.live[prompt.id] = prompt

    def remove(self, prompt_id: str) -> None:
        self.scheduler.remove(prompt_id)
        del self.live[prompt_id]
        self.moving.pop(prompt_id, None)

    def room(self) -> Room:
        local = sum(p.local for p in self.live.values())
        # A prompt on its way takes room at both ends.
        remote = sum(p.blocks if p.stand is Stand.LEAVING else p.blocks - p.local for p in self.live.values())
        remote += sum(p.local for p in self.live.values() if p.stand is Stand.ARRIVING)
        assert local <= self.local, "more local blocks given than there are"
        assert remote <= self.remote, "more remote blocks given than there are"
        return Room(self.local - local, self.remote - remote)

    def run_step(self) -> tuple[StepPlan, list[str]]:
        """Plan, commit and end what is complete; return the plan and the ids that finished."""
        self.step += 1
        for prompt_id, (stand, due) in list(self.moving.items()):
            if due <= self.step:
                del self.moving[prompt_id]
                (self.scheduler.prompts.left if stand is Stand.LEAVING else self.scheduler.prompts.arrived)(prompt_id)
        plan = self.scheduler.plan(self.room())
        self.scheduler.check()
        self.room()
        for prompt in plan.paged_out:
            self.moving[prompt.id] = (Stand.LEAVING, self.step + 1 + self.copy_steps)
        for page_in in plan.paged_in:
            self.moving[page_in.prompt.id] = (Stand.ARRIVING, self.step + 1 + self.copy_steps)
        computed = [*plan.decodes, *(chunk.prompt for chunk in plan.chunks)]
        assert all(p.stand is Stand.RUNNING for p in computed), "a prompt is computed that is not there"
        assert len({p.id for p in computed}) == len(computed), "a prompt is computed twice"
        self.scheduler.commit(plan)
        done = [p.id for p in computed if p.tokens >= p.max_tokens]
        for prompt_id in done:
            self.remove(prompt_id)
        self.scheduler.check()
        return plan, done


def prompt(name: str, tokens: int, output: int) -> ScheduledPrompt:
    return ScheduledPrompt(id=name, tokens=tokens, max_tokens=tokens + output)


def test_a_new_prompt_is_prefilled_at_once_and_then_decodes() -> None:
    host = Host()
    host.add(prompt("a", 5, 2))
    plan, _ = host.run_step()
    assert [(c.prompt.id, c.start, c.count) for c in plan.chunks] == [("a", 0, 5)]
    assert [p.id for p in plan.admitted] == ["a"]
    plan, done = host.run_step()
    assert [p.id for p in plan.decodes] == ["a"]
    assert done == ["a"]
    assert host.room() == Room(8, 0)


def test_a_long_prompt_is_prefilled_in_chunks_and_decodes_come_first() -> None:
    host = Host(local=32, step_tokens=8)
    host.add(prompt("short", 2, 10))
    host.run_step()
    host.add(prompt("long", 20, 1))
    seen = []
    for _ in range(3):
        plan, _ = host.run_step()
        assert [p.id for p in plan.decodes] == ["short"]
        seen += [(c.start, c.count) for c in plan.chunks]
    # After 7 + 7 tokens 6 are left, which fit beside the decoding prompt.
    assert seen == [(0, 7), (7, 7), (14, 6)]


def test_prompts_begin_in_the_order_they_came_even_if_a_later_one_would_fit() -> None:
    host = Host(local=8, headroom_tokens=0)
    host.add(prompt("a", 16, 4))
    host.add(prompt("b", 20, 4))
    host.add(prompt("c", 2, 4))
    plan, _ = host.run_step()
    assert [p.id for p in plan.admitted] == ["a"]
    assert host.scheduler.waiting == 2


def test_the_youngest_gives_way_when_blocks_run_out_and_goes_on_first() -> None:
    host = Host(local=4, block_tokens=2, headroom_tokens=0)
    host.add(prompt("old", 3, 6))
    host.add(prompt("young", 3, 6))
    host.add(prompt("late", 1, 1))
    dropped: list[str] = []
    admitted: list[str] = []
    for _ in range(40):
        plan, _ = host.run_step()
        dropped += [p.id for p in plan.dropped]
        admitted += [p.id for p in plan.admitted]
    assert dropped[0] == "young"
    assert "old" not in dropped
    assert admitted.index("late") > max(i for i, name in enumerate(admitted) if name == "young")


def test_with_slower_memory_the_youngest_is_paged_out_and_computes_nothing_twice() -> None:
    host = Host(local=4, remote=4, block_tokens=2, headroom_tokens=0, copy_steps=2)
    host.add(prompt("old", 3, 6))
    host.add(prompt("young", 3, 6))
    computed: dict[str, list[int]] = {"old": [], "young": []}
    paged: list[str] = []
    for _ in range(40):
        before = {name: p.computed for name, p in host.live.items()}
        plan, _ = host.run_step()
        assert not plan.dropped
        paged += [p.id for p in plan.paged_out]
        for chunk in plan.chunks:
            computed[chunk.prompt.id] += range(chunk.start, chunk.start + chunk.count)
        for p in plan.decodes:
            computed[p.id].append(before[p.id])
    assert paged
    assert set(paged) == {"young"}
    assert computed == {"old": list(range(8)), "young": list(range(8))}


def test_a_prompt_that_is_alone_grows_into_slower_memory() -> None:
    host = Host(local=2, remote=6, block_tokens=4)
    host.add(prompt("long", 20, 12))
    plan, _ = host.run_step()
    assert [(g.local, g.remote) for g in plan.grown] == [(2, 3)]
    assert not plan.paged_out
    while host.live:
        plan, _ = host.run_step()
        assert not plan.dropped
    assert host.room() == Room(2, 6)


def test_nobody_is_sent_to_slower_memory_while_more_local_blocks_are_coming() -> None:
    host = Host(local=2, remote=6, block_tokens=4)
    host.add(prompt("long", 12, 1))
    plan = host.scheduler.plan(Room(2, 6, more=True))
    assert plan.is_empty
    plan = host.scheduler.plan(Room(2, 6))
    assert [(g.local, g.remote) for g in plan.grown] == [(2, 1)]


def test_steps_are_short_while_memory_is_wanted_back() -> None:
    host = Host(local=64, step_tokens=200)
    host.add(prompt("long", 150, 1))
    (chunk,) = host.scheduler.plan(Room(64, 0, in_haste=True)).chunks
    assert chunk.count == HASTY_STEP_TOKENS


def test_a_prompt_alone_that_no_memory_is_coming_for_is_named() -> None:
    host = Host(local=4, remote=4, block_tokens=4)
    host.add(prompt("long", 28, 1))
    assert host.scheduler.plan(Room(4, 0, more=True)).starved is None
    starved = host.scheduler.plan(Room(4, 0)).starved
    assert starved is not None
    assert starved.id == "long"
    assert host.scheduler.plan(Room(4, 4)).starved is None


def test_a_prompt_whose_blocks_are_lost_begins_again_in_its_place() -> None:
    host = Host(local=8)
    host.add(prompt("a", 4, 8))
    host.add(prompt("b", 4, 8))
    host.run_step()
    host.scheduler.prompts.lose("a")
    host.scheduler.check()
    plan, _ = host.run_step()
    assert [p.id for p in plan.admitted] == ["a"]
    assert [(c.prompt.id, c.start, c.count) for c in plan.chunks] == [("a", 0, 5)]


def test_a_prompt_that_could_never_run_is_refused() -> None:
    host = Host(local=1, remote=1, block_tokens=4)
    host.add(prompt("fits", 8, 1))
    with pytest.raises(ValueError, match="at most 9 fit"):
        host.add(prompt("too long", 9, 1))
    with pytest.raises(ValueError, match="already"):
        host.add(prompt("fits", 1, 1))


def test_removing_an_unknown_prompt_does_nothing() -> None:
    assert Host().scheduler.remove("nobody") is None


requests = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 20), st.integers(0, 30)), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    requests=requests,
    local=st.integers(1, 14),
    remote=st.integers(0, 14),
    block_tokens=st.sampled_from([1, 3, 4, 16]),
    step_tokens=st.integers(1, 24),
    max_batch=st.integers(1, 8),
    headroom_tokens=st.sampled_from([0, 1, 8, 64]),
    copy_steps=st.integers(0, 3),
    cancel=st.sets(st.integers(0, 11)),
    lose=st.sets(st.integers(0, 11)),
)
def test_no_block_is_lost_and_everyone_finishes(
    requests: list[tuple[int, int, int]],
    step_tokens: int,
    max_batch: int,
    cancel: set[int],
    lose: set[int],
    **given: int,
) -> None:
    host = Host(step_tokens=step_tokens, max_batch=max_batch, **given)
    arrivals = [
        (at, prompt(str(i), tokens, output))
        for i, (tokens, output, at) in enumerate(requests)
        if tokens + output <= host.scheduler.max_tokens
    ]
    open_ids = {p.id for _, p in arrivals}
    for step in range(20_000):
        for at, new in arrivals:
            if at == step:
                host.add(new)
        if step in cancel and str(step) in host.live:
            host.remove(str(step))
            open_ids.discard(str(step))
        if step in lose and str(step) in host.live:
            host.scheduler.prompts.lose(str(step))
            host.moving.pop(str(step), None)
        plan, done = host.run_step()
        tokens = len(plan.decodes) + sum(chunk.count for chunk in plan.chunks)
        assert tokens <= step_tokens
        assert len(plan.decodes) + len(plan.chunks) <= max_batch
        assert tokens or not host.live or host.moving or plan.dropped, "nothing runs though a prompt waits"
        open_ids -= set(done)
        if not open_ids and step > 30:
            break
    assert not open_ids
    assert host.room() == Room(host.local, host.remote)
    assert host.scheduler.waiting == host.scheduler.running == host.scheduler.suspended == 0
