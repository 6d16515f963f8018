"""Whatever is decided about when a prompt runs and where its KV lies, it says what it would have said alone."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aquahost.clock import VirtualClock
from aquahost.config.settings import Policy, SchedulerSettings
from aquahost.messages.memory import Demand
from aquahost.messages.prompts import Output, PromptState, StateChanged
from llm_host import CHUNK, MIB, Host, ids_of
from scripted_lender import ScriptedLender
from tiny_llms import emulated_device, load_tiny, make_tiny_llm, run_all, text_prompt, tokens_of

TIERS = ("recompute", "host", "peer")
SCHEDULES = 501
"""In all tiers together."""
GEOMETRY = {"num_hidden_layers": 2, "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 1024}
"""32 blocks of 64 KiB in a chunk, 512 tokens."""
POOL = [
    (ids_of(20 + 17 * number % 90, number), {"max_tokens": 8 + 11 * number % 40, "ignore_eos": True, **rules})
    for number, rules in enumerate(
        [{"temperature": 0.0}] * 8 + [{"temperature": 1.1, "seed": seed, "top_p": 0.9} for seed in range(4)]
    )
]


class TickingClock(VirtualClock):
    """A clock that goes on a little whenever it is looked at, so that every step takes some time."""

    def now_s(self) -> float:
        """The time, a tenth of a millisecond later each time."""
        self.advance(1e-4)
        return super().now_s()


@dataclass(frozen=True)
class Setting:
    """How the model that a schedule is tried on is hosted."""

    policy: Policy
    tier: str
    chunks: int


@dataclass(frozen=True)
class Arrival:
    """A prompt of the pool, the round it comes in, and the round it is cancelled in, if it is."""

    number: int
    at: int
    cancelled_at: int | None


ARRIVALS = st.lists(
    st.builds(
        Arrival,
        st.integers(0, len(POOL) - 1),
        st.integers(0, 30),
        st.one_of(st.none(), st.none(), st.integers(1, 60)),
    ),
    min_size=1,
    max_size=10,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llm(tmp_path_factory.mktemp("model"), "llama", **GEOMETRY)


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    """What each prompt of the pool says when it is alone and never interrupted."""
    with emulated_device(tmp_path_factory.mktemp("alone"), gpu_bytes=256 * MIB) as device:
        engine = load_tiny(folder, device, kv_bytes=32 * MIB)
        said = []
        for ids, rules in POOL:
            engine.submit(text_prompt("x", ids, **rules))
            said.append(tokens_of(run_all(engine), "x"))
        engine.close()
    return said


@pytest.fixture(scope="module")
def hosted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Setting], Host]]:
    """The model in each setting, loaded once."""
    made: dict[Setting, Host] = {}
    with contextlib.ExitStack() as stack:

        def host(setting: Setting) -> Host:
            if setting not in made:
                lender = ScriptedLender(TickingClock())
                node = tmp_path_factory.mktemp("node")
                device = stack.enter_context(emulated_device(node, gpus=4, desk=lender.desk))
                memory: dict[str, Any] = {
                    "kv_bytes": setting.chunks * CHUNK,
                    "borrow_bytes": 8 * CHUNK if setting.tier == "peer" else 0,
                    "host_kv_bytes": 0 if setting.tier == "recompute" else 8 * CHUNK,
                }
                scheduler = SchedulerSettings(policy=setting.policy, step_tokens=64, max_batch=8)
                engine = load_tiny(folder, device, scheduler=scheduler, **memory)
                stack.callback(engine.close)
                made[setting] = Host(engine, lender, device, node)
            return made[setting]

        yield host


def play(host: Host, arrivals: list[Arrival], lends: set[int], recalls: set[int]) -> list[Output]:
    """Let prompts come and go, and leases be granted and recalled, in these rounds; then let everyone end."""
    outputs: list[Output] = []
    leases: list[int] = []
    last = max(arrival.at for arrival in arrivals)
    for at in itertools.count():
        for index, arrival in enumerate(arrivals):
            if arrival.at == at:
                ids, rules = POOL[arrival.number]
                prompt = text_prompt(str(index), ids, **rules)
                host.engine.submit(msgspec.structs.replace(prompt, tenant=str(index % 3), priority=index % 2))
            elif arrival.cancelled_at == at:
                host.engine.cancel(str(index))
        if at in lends and [d.nbytes for d in host.heard(Demand)][-1:] not in ([], [0]):
            leases.append(host.broker.grant(host.engine, 1 + at % 3, CHUNK, bytes_per_s=9e9))
        if at in recalls and leases:
            host.broker.recall(host.engine, leases.pop(0))
        outputs += host.round()
        if at > last and not host.engine.has_work():
            break
        assert at < 20_000, "it never ends"
    for lease in leases:
        host.broker.recall(host.engine, lease)
    host.run(lambda: not host.memory.leases)
    return outputs


@pytest.mark.parametrize("tier", TIERS)
@settings(
    max_examples=SCHEDULES // len(TIERS),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.timeout(600)
@given(
    policy=st.sampled_from(list(Policy)),
    chunks=st.sampled_from([1, 2]),
    arrivals=ARRIVALS,
    lends=st.sets(st.integers(0, 80), max_size=6),
    recalls=st.sets(st.integers(0, 120), max_size=6),
)
def test_every_prompt_says_what_it_says_alone(
    hosted: Callable[[Setting], Host],
    alone: list[list[int]],
    tier: str,
    policy: Policy,
    chunks: int,
    arrivals: list[Arrival],
    lends: set[int],
    recalls: set[int],
) -> None:
    host = hosted(Setting(policy, tier, chunks))
    outputs = play(host, arrivals, lends, recalls)
    for index, arrival in enumerate(arrivals):
        said = tokens_of(outputs, str(index))
        if arrival.cancelled_at is None or arrival.cancelled_at <= arrival.at:
            assert said == alone[arrival.number], f"prompt {index}"
        else:
            assert said == alone[arrival.number][: len(said)], f"prompt {index}"
    stats = host.engine.stats()
    assert stats.kv_blocks_free == stats.kv_blocks, "blocks were left behind"
    assert (stats.waiting, stats.running, stats.suspended) == (0, 0, 0)


@pytest.mark.parametrize("tier", TIERS)
def test_such_schedules_do_suspend_prompts(hosted: Callable[[Setting], Host], tier: str) -> None:
    arrivals = [Arrival(number, number // 2, None) for number in range(12)]
    host = hosted(Setting(Policy.FAIR, tier, 1))
    outputs = play(host, arrivals, set(range(0, 80, 4)), set(range(30, 120, 10)))
    suspended = [o for o in outputs if isinstance(o, StateChanged) and o.state is PromptState.SUSPENDED]
    moved = {(p.source, p.target) for p in host.engine.stats().paged}
    assert suspended
    assert (("local", "host") in moved) == (tier == "host") or tier == "peer"
