"""The line of prompts that wait: its order, and what it keeps of those that are gone."""

from __future__ import annotations

from math import inf

from aquahost.scheduling.prompt import ScheduledPrompt
from aquahost.scheduling.virtual_time import VirtualTime
from aquahost.scheduling.waiting_line import WaitingLine


def prompt(fairness: VirtualTime, name: str, tenant: str = "t", *, begun: bool = True) -> ScheduledPrompt:
    fairness.add(name, tenant)
    return ScheduledPrompt(id=name, tenant=tenant, tokens=4, max_tokens=8, has_begun=begun)


def test_new_ones_go_first_and_whoever_is_overdue_before_others_that_have_begun() -> None:
    fairness = VirtualTime()
    line = WaitingLine(fairness)
    for name, since_s, begun in (("least", 5.0, True), ("overdue", 1.0, True), ("new", 6.0, False)):
        one = prompt(fairness, name, begun=begun)
        one.since_s = since_s
        fairness.serve(name, 1.0 if name == "overdue" else 0.0)
        line.put(one)
    taken = [line.take(2.0), line.take(2.0), line.take(2.0), line.take(2.0)]
    assert [one.id if one else None for one in taken] == ["new", "overdue", "least", None]


def test_nothing_is_kept_of_prompts_that_come_and_go() -> None:
    fairness = VirtualTime()
    line = WaitingLine(fairness)
    line.put(prompt(fairness, "stays"))
    for number in range(5000):
        gone = prompt(fairness, str(number))
        fairness.serve(gone.id, 1.0)
        line.put(gone)
        line.discard(gone.id)
        fairness.remove(gone.id)
    kept = [len(one.heap) + len(one.by_time) for one in line._lines.values()]
    assert sum(kept) < 1000
    assert [one.id for one in line.in_order()] == ["stays"]


def test_putting_back_again_and_again_keeps_one_entry() -> None:
    fairness = VirtualTime()
    line = WaitingLine(fairness)
    for name in "ab":
        line.put(prompt(fairness, name))
    for _ in range(5000):
        taken = line.take(-inf)
        assert taken is not None
        line.put(taken)
    assert sum(len(one.heap) + len(one.by_time) for one in line._lines.values()) < 1000
