"""What a profile says counts from the first step on, and less and less as steps are measured."""

from __future__ import annotations

import msgspec
import pytest

from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.policies import make_policy
from aquahost.scheduling.prompt import ScheduledPrompt
from aquahost.scheduling.room import Costs
from aquahost.scheduling.slicer import Slicer, StepTimes
from aquahost.worker.spec import DriverSpec, WorkerSpec
from scheduled_host import ScheduledHost

KNOWN = StepTimes(decode_step_s=0.08, decode_token_s=0.01, prefill_token_s=0.001)


def prompt(name: str = "a") -> ScheduledPrompt:
    return ScheduledPrompt(id=name, tokens=100, max_tokens=200)


def test_without_a_profile_nothing_is_known() -> None:
    slicer = Slicer(0.1)
    assert slicer.token_s == 0
    assert slicer.slice_s([prompt()], Costs(), remote=0) == 0


def test_a_profile_gives_the_first_slice_its_length() -> None:
    slicer = Slicer(0.1, KNOWN)
    assert slicer.token_s == 0.01
    assert slicer.short_prefill == 80
    assert slicer.slice_s([prompt()], Costs(), remote=0) == pytest.approx(100 * 0.001 / 0.1)


def test_measured_steps_outweigh_it() -> None:
    slicer = Slicer(0.1, KNOWN)
    for _ in range(100):
        slicer.note_step(StepPlan(decodes=[prompt()]), 0.5, Costs())
    assert slicer.token_s == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("name", ["fair", "priority", "fcfs"])
def test_every_policy_takes_it(name: str) -> None:
    policy = make_policy(name, paging_budget=0.1, known=KNOWN)
    host = ScheduledHost(policy=policy, local=8, remote=0, block_tokens=4, step_tokens=64, max_batch=4)
    for number in range(3):
        host.add(ScheduledPrompt(id=str(number), tokens=20, max_tokens=26))
    steps = 0
    while host.live:
        host.run_step()
        steps += 1
        assert steps < 500


def test_it_reaches_the_worker_as_it_was() -> None:
    spec = WorkerSpec(
        name="chat", worker_id=1, endpoint="ipc://x", parent_pid=1, gpu=0, turns_path="t", threads=1,
        driver=DriverSpec(choice="emulated"), model={}, scheduler={}, step_times=KNOWN, leasing={},
    )  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(spec), type=WorkerSpec).step_times == KNOWN
