"""Simulated nodes: what becomes of prompts, memory and time."""

from __future__ import annotations

import statistics
import subprocess
import sys
from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aquahost.errors import ConfigError
from aquahost.events import EventKind
from aquahost.profiles.data_sheets import parse_node
from aquahost.simulator import stretch
from aquahost.simulator.links import ACHIEVABLE, Switched
from aquahost.simulator.node import Hosted
from aquahost.simulator.run import Machine, Simulated, simulate
from aquahost.traces.trace import TracePrompt
from aquahost.units import MIB
from simulated import TOKEN_BYTES, image, language, language_profile, machine, prompts, settings_of, trace

BURST = [(0.01 * at, 100 + 7 * at % 60, 60 + 11 * at % 90) for at in range(30)]
"""30 prompts within 0.3 s that need about four times the local KV memory."""


def run(
    hosted: list[Hosted], *parts: list[TracePrompt], policy: str = "fair", tier: str = "peer", **more: object
) -> Simulated:
    settings = settings_of(hosted, **more)  # type: ignore[arg-type]
    return simulate(settings, hosted, machine(), trace(*parts), policy=policy, tier=tier)


@pytest.mark.parametrize("tier", ["recompute", "host", "peer"])
@pytest.mark.parametrize("policy", ["fair", "fcfs", "priority", "aqua"])
def test_everyone_gets_all_tokens_under_every_policy_and_tier(policy: str, tier: str) -> None:
    done = run([language(), image()], prompts(*BURST), policy=policy, tier=tier)
    assert done.total.failed == 0
    assert sorted(len(reply.chunk_s) for reply in done.replies) == sorted(output for _, _, output in BURST)
    for reply in done.replies:
        assert list(reply.chunk_s) == sorted(reply.chunk_s)
        assert reply.ttft_s > 0
    assert (done.total.paged_bytes or 0) > 0 if tier != "recompute" and policy != "fcfs" else True


def test_the_same_trace_gives_the_same_bits() -> None:
    one, other = (run([language(), image()], prompts(*BURST), prompts((0.1, 1, 1), model="paint")) for _ in range(2))
    assert one.total == other.total
    assert [reply.chunk_s for reply in one.replies] == [reply.chunk_s for reply in other.replies]
    assert one.occupancy.gpus == other.occupancy.gpus
    assert one.events == other.events


def test_slices_answer_at_once_where_a_queue_makes_wait() -> None:
    fair, fcfs = (run([language()], prompts(*BURST), policy=policy).total for policy in ("fair", "fcfs"))
    assert fair.ttft_p99_s is not None
    assert fcfs.ttft_p99_s is not None
    assert fair.ttft_p99_s < fcfs.ttft_p99_s / 3


def test_a_prompt_alone_takes_what_the_cost_model_says() -> None:
    profile = language_profile()
    (reply,) = run([language(profile=profile)], prompts((1.0, 100, 3))).replies
    gaps = [later - sooner for sooner, later in pairwise(reply.chunk_s)]
    assert reply.ttft_s == pytest.approx(100 * 1e5 / 1e9 + 0.004, abs=1e-3), "and words with the broker before"
    assert gaps == pytest.approx([0.01, 0.01], rel=0.02)


@given(asked=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 150), st.integers(1, 120)), min_size=1, max_size=6))
@hypothesis_settings(max_examples=15, deadline=None)
def test_many_steps_at_once_are_those_steps(asked: list[tuple[float, int, int]]) -> None:
    hosted = [language(kv_bytes=64 * MIB)]
    longest = stretch.LONGEST_STRETCH
    plain: dict[int, array[float]] = {}
    try:
        stretch.LONGEST_STRETCH = 1
        for reply in run(hosted, prompts(*asked), enabled=False).replies:
            plain[reply.prompt.number] = array("d", reply.chunk_s)
    finally:
        stretch.LONGEST_STRETCH = longest
    for reply in run(hosted, prompts(*asked), enabled=False).replies:
        assert list(reply.chunk_s) == pytest.approx(list(plain[reply.prompt.number]), abs=1e-9)


def test_a_donor_has_its_memory_back_when_it_wants_it() -> None:
    """The image model's GPU is so full of what it lends that its own prompt needs some of it."""
    chat = language(borrow_bytes=256 * MIB, host_kv_bytes=256 * MIB)
    others = [language(f"full{gpu}", (gpu,), kv_bytes=150 * MIB, pin=True) for gpu in (2, 3)]
    busy = prompts(*((0.0, 800, 700) for _ in range(40)))
    done = run([chat, image(), *others], busy, prompts((6.0, 1, 1), model="paint"), park_after_s=None)
    kinds = {event.kind for event in done.events}
    assert {EventKind.LEASE_GRANTED, EventKind.LEASE_RETURNED} <= kinds
    lent = max(look[1].lent for look in done.occupancy.gpus)
    assert lent > 60 * MIB
    (picture,) = (reply for reply in done.replies if reply.prompt.model == "paint")
    assert not picture.failure
    assert picture.completion_s < 3.0, "1 s of work, and what taking memory back takes"
    if lent > (256 - 128 - 32) * MIB:
        assert EventKind.LEASE_RECALLED in kinds


def test_an_image_takes_its_steps_and_two_take_turns() -> None:
    one = run([image()], prompts((0.0, 1, 1), model="paint")).replies[0]
    assert one.completion_s == pytest.approx(0.2 + 5 * 0.1 + 0.3, abs=0.01)
    assert len(one.chunk_s) == 5
    both = run([image()], prompts((0.0, 1, 1), (0.0, 1, 1), model="paint")).replies
    assert max(reply.completion_s for reply in both) == pytest.approx(2.0, abs=0.02)


def test_models_on_one_gpu_share_its_time() -> None:
    profile = language_profile(weights_bytes=16 * MIB)
    pair = [language(name, (0,), profile=profile, kv_bytes=32 * MIB) for name in ("one", "two")]
    done = run(pair, *(prompts(*((0.0, 10, 200) for _ in range(3)), model=name) for name in ("one", "two")))
    alone = run(pair[:1], prompts(*((0.0, 10, 200) for _ in range(3)), model="one"))
    times = [done.by_model[name].completion_mean_s for name in ("one", "two")]
    assert times[0] == pytest.approx(times[1], rel=0.1)
    assert times[0] == pytest.approx(2 * (alone.by_model["one"].completion_mean_s or 0), rel=0.15)
    assert done.gpu_busy[0] <= 1.0


def test_an_idle_model_is_parked_and_wakes_with_its_next_prompt() -> None:
    done = run([language(), image()], prompts((0.0, 50, 5), (60.0, 50, 5)), park_after_s=5.0)
    weights = [look[0].weights for look in done.occupancy.gpus]
    assert 0 in weights
    first, second = done.replies
    assert second.ttft_s > first.ttft_s + 0.05, "64 MiB come back from the host at 0.9 GB/s"


def test_a_group_of_gpus_holds_a_model_together() -> None:
    done = run([language("big", (0, 1)), image("paint", 2)], prompts(*BURST, model="big"))
    assert done.total.failed == 0
    assert max(look[1].borrowed for look in done.occupancy.gpus) > 0
    assert [look[0].borrowed for look in done.occupancy.gpus] == [look[1].borrowed for look in done.occupancy.gpus]


def test_what_cannot_be_served_fails_alone() -> None:
    chat = language(max_queue=1)
    done = run([chat], prompts((0.0, 50, 50), (0.1, 50, 50), (5.0, 9000, 50)))
    assert sorted(reply.failure[:3] for reply in done.replies) == ["", "400", "429"]


@pytest.mark.parametrize(
    ("entry", "most"), [({"max_context": 500}, 500), ({}, 777), ({"kv_bytes": 2 * MIB, "host_kv_bytes": 0}, 513)]
)
def test_no_prompt_is_longer_than_entry_model_and_memory_allow(entry: dict[str, int], most: int) -> None:
    hosted = [language(profile=language_profile(context_tokens=777), borrow_bytes=0, **entry)]
    asked = trace(prompts((0, 100, most - 100), (0, 100, most - 99)))
    done = simulate(settings_of(hosted), hosted, machine(), asked, policy="fair", tier="peer")
    assert [reply.failure for reply in sorted(done.replies, key=lambda one: one.prompt.number)] == [
        "",
        f"400: {most + 1} tokens; at most {most} fit",
    ]


def test_models_that_do_not_fit_are_refused() -> None:
    profile = language_profile(weights_bytes=200 * MIB)
    with pytest.raises(ConfigError, match="GPU 0 need"):
        run([language(kv_bytes=100 * MIB, profile=profile)], prompts((0.0, 1, 2)))
    with pytest.raises(ValueError, match="not here"):
        run([language()], prompts((0.0, 1, 2), model="nobody"))


def test_adapters_come_from_neighbours_sooner_than_from_the_host() -> None:
    traffic = {"adapters": 6, "adapter_bytes": 9 * 10**6, "adapter_slots": 2}
    asked = [prompts((0.5 * at, 20, 5), adapter=at % 6)[0] for at in range(12)]
    near, far = (run([language(traffic=traffic), image()], asked, tier=tier).total for tier in ("peer", "host"))
    assert near.failed == far.failed == 0
    assert near.ttft_p50_s is not None
    assert far.ttft_p50_s is not None
    assert far.ttft_p50_s - near.ttft_p50_s == pytest.approx(0.009, abs=0.002), "10 ms at 0.9 GB/s, 1 ms at 9 GB/s"


def test_prompts_that_want_one_adapter_share_it_and_others_wait_for_a_place() -> None:
    traffic = {"adapters": 2, "adapter_bytes": 10**6, "adapter_slots": 1}
    asked = [prompts((0.0, 20, 50), adapter=0)[0], prompts((0.01, 20, 50), adapter=0)[0]]
    asked.append(prompts((0.02, 20, 50), adapter=1)[0])
    replies = run([language(traffic=traffic)], asked).replies
    assert [reply.prompt.adapter for reply in replies] == [0, 0, 1]
    assert replies[2].chunk_s[0] >= replies[1].done_s - 0.01


def test_the_simulator_needs_no_torch() -> None:
    code = "import sys, aquahost.simulator.run; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_a_step_reads_elsewhere_goes_through_its_gpus_port_once() -> None:
    """However many neighbours it lies with, it comes in at the rate of one port; a conservation that plans rest on."""
    profile = language_profile(weights_bytes=16 * MIB)
    node = parse_node("8xH100")
    wide = Machine(name="wide", gpu_bytes=(2048 * MIB,) * 8, wiring=Switched(node), chunk_bytes=2 * MIB)
    rate = ACHIEVABLE * node.sheet.nvlink_bytes_per_s
    asked = trace(prompts((0.0, 7000, 40)))
    gaps = {}
    for kv_bytes in (4 * MIB, 64 * MIB):
        hosted = [language(profile=profile, kv_bytes=kv_bytes, borrow_bytes=256 * MIB, host_kv_bytes=256 * MIB)]
        (reply,) = simulate(settings_of(hosted), hosted, wide, asked, policy="fair", tier="peer").replies
        assert not reply.failure
        gaps[kv_bytes] = statistics.median(later - sooner for sooner, later in pairwise(reply.chunk_s))
    read_bytes = 7000 * TOKEN_BYTES - 4 * MIB
    assert gaps[4 * MIB] - gaps[64 * MIB] >= 0.95 * read_bytes / rate
