"""FCFS scheduling: no block is lost, everyone finishes, the step's budget holds."""

from __future__ import annotations

import pytest

from aquahost.scheduling.prompt import ScheduledPrompt
from aquahost.scheduling.room import Room
from aquahost.scheduling.scheduler import HASTY_STEP_TOKENS
from scheduled_host import ScheduledHost as Host


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
    assert host.room()[:2] == (8, 0)


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
    assert host.room()[:2] == (2, 6)


def test_nobody_is_sent_to_slower_memory_while_more_local_blocks_are_coming() -> None:
    host = Host(local=2, remote=6, block_tokens=4)
    host.add(prompt("long", 12, 1))
    plan = host.scheduler.plan(Room(2, 6, more=True), 0.0)
    assert plan.is_empty
    plan = host.scheduler.plan(Room(2, 6), 0.0)
    assert [(g.local, g.remote) for g in plan.grown] == [(2, 1)]


def test_steps_are_short_while_memory_is_wanted_back() -> None:
    host = Host(local=64, step_tokens=200)
    host.add(prompt("long", 150, 1))
    (chunk,) = host.scheduler.plan(Room(64, 0, in_haste=True), 0.0).chunks
    assert chunk.count == HASTY_STEP_TOKENS


def test_a_prompt_alone_that_no_memory_is_coming_for_is_named() -> None:
    host = Host(local=4, remote=4, block_tokens=4)
    host.add(prompt("long", 28, 1))
    assert host.scheduler.plan(Room(4, 0, more=True), 0.0).starved is None
    starved = host.scheduler.plan(Room(4, 0), 0.0).starved
    assert starved is not None
    assert starved.id == "long"
    assert host.scheduler.plan(Room(4, 4), 0.0).starved is None


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
