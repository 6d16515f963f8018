"""How long the scheduler takes to decide what a step computes."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass

from aquahost.bench.figures import Figure, at_most
from aquahost.scheduling.policies import make_policy
from aquahost.scheduling.prompt import ScheduledPrompt
from aquahost.scheduling.room import Costs, Room
from aquahost.scheduling.scheduler import Scheduler
from aquahost.scheduling.sizes import Sizes

_BLOCK_TOKENS = 16
_LOCAL_BLOCKS = 256
_REMOTE_BLOCKS = 100_000
_STEP_S = 0.005
_STEPS = 2000
_BAR_S = 200e-6
_TENANTS = 4


@dataclass(frozen=True, slots=True)
class _Node:
    """Where prompts are paged to, and what that costs."""

    name: str
    costs: Costs
    is_peer: bool


_NODES = (
    _Node("neighbours, read in place", Costs(peer_block_s=1e-5, host_block_s=1e-4, transfer_s=1e-4), is_peer=True),
    _Node("host memory", Costs(peer_block_s=None, host_block_s=1e-4, transfer_s=1e-4), is_peer=False),
)


def measure_decision() -> list[Figure]:
    """Time to plan one step under "fair", local memory full, everybody live having begun; batches of up to 64."""
    figures = []
    for prompts in (1000, 5000):
        for node in _NODES:
            decisions_s, moves = _run(prompts, node)
            ordered = sorted(decisions_s)
            note = f"p99 {ordered[int(0.99 * len(ordered))] * 1e6:.0f} µs; {moves:.1f} prompts a step came or went"
            name = f"a decision at {prompts} live prompts, paging to {node.name}, median of {_STEPS}"
            median_s = statistics.median(ordered)
            if prompts == 1000:
                figures.append(at_most(name, median_s * 1e6, "µs", _BAR_S * 1e6, note=note))
            else:
                figures.append(Figure(name=name, value=median_s * 1e6, unit="µs", note=note))
    return figures


def _run(prompts: int, node: _Node) -> tuple[list[float], float]:
    """Seconds of each decision, and how many prompts came or went in a step."""
    sizes = Sizes(most_blocks=_LOCAL_BLOCKS + _REMOTE_BLOCKS, block_tokens=_BLOCK_TOKENS, step_tokens=512, max_batch=64)
    scheduler = Scheduler(sizes, make_policy("fair", paging_budget=0.1))
    choose = random.Random(1)
    for number in range(prompts):
        tokens = choose.randint(16, 128)
        output = choose.randint(1000, 4000)
        tenant = str(number % _TENANTS)
        scheduler.add(ScheduledPrompt(id=str(number), tenant=tenant, tokens=tokens, max_tokens=tokens + output))
    decisions_s: list[float] = []
    now_s, moves = 0.0, 0
    while len(decisions_s) < _STEPS:
        held = list(scheduler.prompts.by_arrival)
        all_begun = all(prompt.has_begun for prompt in held)
        local = sum(prompt.local for prompt in held)
        remote = _REMOTE_BLOCKS - sum(prompt.blocks - prompt.local for prompt in held)
        room = Room(_LOCAL_BLOCKS - local, remote, peer=remote if node.is_peer else 0, costs=node.costs)
        began_s = time.perf_counter()
        plan = scheduler.plan(room, now_s)
        took_s = time.perf_counter() - began_s
        scheduler.commit(plan, _STEP_S)
        now_s += _STEP_S
        if all_begun:
            decisions_s.append(took_s)
            moves += len(plan.paged_out) + len(plan.paged_in) + len(plan.dropped) + len(plan.admitted)
        for prompt in plan.paged_out:
            scheduler.prompts.left(prompt.id)
        for page_in in plan.paged_in:
            scheduler.prompts.arrived(page_in.prompt.id)
    return decisions_s, moves / _STEPS
