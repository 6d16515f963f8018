"""Snapshots of a simulated node: parts add up, ids match, and time goes by as it does at a real one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.config.loader import load_settings
from aquahost.config.settings import Settings
from aquahost.events import Event, EventKind
from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import SCHEMA_VERSION, LeaseState, Snapshot
from aquahost.messages.words import AT_WORK
from aquahost.simulator.lending import MESSAGE_S
from aquahost.simulator.node import SimNode
from aquahost.simulator.run import Simulated, Watch, simulate
from aquahost.simulator.snapshots import Snapshots, wall_time
from aquahost.traces.trace import Trace, TracePrompt
from simulated_host import YAML, hosted, image_prompt, machine, text_prompt, trace_of

Seen = list[tuple[list[tuple[float, Event]], Snapshot]]
BURST = [text_prompt(0.01 * number, 600, 200) for number in range(24)] + [image_prompt(n) for n in (0.2, 0.3, 1.0)]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    path = tmp_path_factory.mktemp("host") / "models.yaml"
    path.write_text(YAML)
    return load_settings(path, {})


def watched(
    asked: Settings, trace: Trace, *places: tuple[str, tuple[int, ...]], policy: str = "fair", period_s: float = 0.1
) -> tuple[Simulated, Seen]:
    """A run, and what was seen of it."""
    seen: Seen = []
    made: list[Snapshots] = []

    def look(node: SimNode) -> None:
        if not made:
            made.append(Snapshots(node))
        seen.append(made[0].look())

    places = places or (("chat", (0,)), ("paint", (1,)))
    models = hosted(asked, *places)
    watch = Watch(looks=[(period_s, look)])
    return simulate(asked, models, machine(), trace, policy=policy, tier="peer", watch=watch), seen


def check(snapshot: Snapshot) -> None:
    """What holds of any snapshot."""
    names = {model.name for model in snapshot.models}
    for gpu in snapshot.gpus:
        parts = gpu.weights_bytes + gpu.kv_bytes + gpu.work_bytes + gpu.lent_bytes + gpu.other_bytes + gpu.free_bytes
        assert parts == gpu.total_bytes
        assert gpu.free_bytes >= 0
        assert gpu.lent_bytes == sum(lease.nbytes for lease in snapshot.leases if lease.donor == gpu.index)
        assert gpu.borrowed_bytes == sum(one.nbytes for one in snapshot.leases if one.borrower_gpu == gpu.index)
        assert set(gpu.models) <= names
        assert gpu.utilisation is None or 0 <= gpu.utilisation <= 1
    for lease in snapshot.leases:
        assert lease.borrower in names
        assert lease.donor != lease.borrower_gpu
        assert (lease.deadline_in_s is not None) == (lease.state is LeaseState.RECALLING)
    live = Counter(prompt.model for prompt in snapshot.prompts)
    assert set(live) <= names
    for model in snapshot.models:
        assert model.queue == live[model.name]
        assert model.stats is not None
        assert model.stats.waiting + model.stats.running + model.stats.suspended == model.queue
    for prompt in snapshot.prompts:
        assert (prompt.first_token_s is not None) == (prompt.output_tokens + (prompt.steps_done or 0) > 0)
        assert 0 <= prompt.waited_s <= prompt.age_s + 1e-5
        assert prompt.output_tokens <= (prompt.max_tokens or 0)
        assert not prompt.place or prompt.state is PromptState.SUSPENDED
        assert (prompt.position == 0) == (prompt.state in AT_WORK) or prompt.position is None
    assert sum(tenant.live for tenant in snapshot.tenants) == len(snapshot.prompts)
    assert all(flow.bytes_per_s > 0 for flow in snapshot.flows)


PROMPTS = st.lists(
    st.one_of(
        st.builds(
            text_prompt,
            st.floats(0, 3),
            st.integers(1, 2000),
            st.integers(1, 300),
            tenant=st.sampled_from(["", "gold", "web"]),
        ),
        st.builds(image_prompt, st.floats(0, 3), st.integers(1, 20)),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=25, deadline=None)
@given(prompts=PROMPTS, policy=st.sampled_from(["fair", "fcfs", "priority"]))
def test_whatever_is_asked_everything_adds_up(asked: Settings, prompts: list[TracePrompt], policy: str) -> None:
    done, seen = watched(asked, trace_of(prompts), policy=policy)
    for _, snapshot in seen:
        check(snapshot)
    events = [event for news, _ in seen for _, event in news]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    ended = Counter(event.kind for event in events if event.prompt_id)
    assert ended[EventKind.PROMPT_QUEUED] == len(prompts)
    assert ended[EventKind.PROMPT_FINISHED] == done.total.prompts - done.total.failed
    last = seen[-1][1]
    assert last.last_event_seq == len(events)
    assert sum(tenant.output_tokens for tenant in last.tenants) == done.total.output_tokens
    assert sum(model.stats.output_tokens for model in last.models if model.stats) == done.total.output_tokens


def test_a_burst_is_seen_to_be_paged_out_and_to_come_back(asked: Settings) -> None:
    done, seen = watched(asked, trace_of(BURST), period_s=0.05)
    snapshots = [snapshot for _, snapshot in seen]
    states = {prompt.state for snapshot in snapshots for prompt in snapshot.prompts}
    assert states == set(PromptState)
    places = {prompt.place for snapshot in snapshots for prompt in snapshot.prompts}
    assert any("GPU" in place for place in places)
    assert any(snapshot.flows for snapshot in snapshots)
    assert any(snapshot.leases for snapshot in snapshots)
    assert not snapshots[-1].prompts
    assert done.total.failed == 0
    first = max((snapshot.first_tokens for snapshot in snapshots), key=lambda view: view.prompts)
    assert first.prompts == len(BURST)
    assert first.p99_s == pytest.approx((done.total.ttft_max_s or 0) - MESSAGE_S, abs=1e-5), "from when it was there"


def test_time_and_totals_only_grow_and_steps_under_way_count(asked: Settings) -> None:
    """Long stretches of steps are simulated at once; whoever looks on sees them step by step all the same."""
    _, seen = watched(asked, trace_of([text_prompt(0, 100, 500)]), period_s=0.05)
    tokens = [sum(prompt.output_tokens for prompt in snapshot.prompts) for _, snapshot in seen if snapshot.prompts]
    assert tokens == sorted(tokens)
    assert len(set(tokens)) > 0.9 * len(tokens)
    totals = [one.models[0].stats.output_tokens for _, one in seen if one.prompts and one.models[0].stats]
    assert totals == tokens
    busy = [snapshot.models[0].stats.busy_s for _, snapshot in seen if snapshot.models[0].stats]
    assert busy == sorted(busy)
    utilisation = [snapshot.gpus[0].utilisation for _, snapshot in seen if snapshot.prompts]
    assert utilisation[1:-1] == pytest.approx([1.0] * (len(utilisation) - 2), abs=0.1)


def test_flows_are_what_links_have_carried(asked: Settings) -> None:
    """Over all looks together, whatever their distance."""
    nodes: list[SimNode] = []
    carried: Counter[tuple[int, int]] = Counter()
    made: list[Snapshots] = []
    seen_s = 0.0

    def look(node: SimNode) -> None:
        nonlocal seen_s
        if not made:
            made.append(Snapshots(node))
            nodes.append(node)
        _, snapshot = made[0].look()
        for flow in snapshot.flows:
            carried[flow.source, flow.target] += round(flow.bytes_per_s * (snapshot.uptime_s - seen_s))
        seen_s = snapshot.uptime_s

    models = hosted(asked, ("chat", (0,)), ("paint", (1,)))
    watch = Watch(looks=[(0.07, look)])
    simulate(asked, models, machine(), trace_of(BURST), policy="fair", tier="peer", watch=watch)
    moved = nodes[0].links.moved
    assert carried.total() > 10**9
    assert carried.keys() == moved.keys()
    assert all(carried[ends] == pytest.approx(moved[ends], rel=1e-6) for ends in moved)


def test_looking_on_changes_nothing(asked: Settings) -> None:
    models = hosted(asked, ("chat", (0,)), ("paint", (1,)))
    alone = simulate(asked, models, machine(), trace_of(BURST), policy="fair", tier="peer")
    seen, _ = watched(asked, trace_of(BURST))
    assert (seen.total, seen.by_model, seen.busy) == (alone.total, alone.by_model, alone.busy)


def test_replicas_and_groups_are_told_apart(asked: Settings) -> None:
    prompts = trace_of([text_prompt(0.1 * number) for number in range(8)])
    _, seen = watched(asked, prompts, ("chat", (0, 1)), ("chat", (2,)))
    for _, snapshot in seen:
        check(snapshot)
    busiest = max((snapshot for _, snapshot in seen), key=lambda snapshot: len(snapshot.prompts))
    assert [model.name for model in busiest.models] == ["chat#1", "chat#2"]
    assert [gpu.models for gpu in busiest.gpus] == [["chat#1"], ["chat#1"], ["chat#2"], []]
    assert {prompt.model for prompt in busiest.prompts} == {"chat#1", "chat#2"}
    assert [gpu.utilisation is None for gpu in busiest.gpus] == [False, False, False, True]


def test_a_snapshot_says_that_it_is_simulated_and_when(asked: Settings) -> None:
    _, seen = watched(asked, trace_of([image_prompt(0), image_prompt(60)]), period_s=0.5)
    events, first = seen[0]
    assert (first.schema_version, first.driver, first.run_id) == (SCHEMA_VERSION, "simulated", "simulated")
    assert first.at == "2000-01-01T00:00:00.000Z" == wall_time(0)
    assert events[0][1].kind is EventKind.DAEMON_STARTED
    assert "nothing of it is real" in events[0][1].message
    assert len({(link.source, link.target) for link in first.links}) == 5 * 4
    # Idle for 20 s, the image model is parked, and woken by its next prompt.
    kinds = [event.kind for news, _ in seen for _, event in news if event.model == "paint" and not event.prompt_id]
    assert kinds[:3] == [EventKind.MODEL_READY, EventKind.MODEL_PARKED, EventKind.MODEL_WOKEN]
    parked = next(snapshot for _, snapshot in seen if snapshot.models[1].stats and snapshot.models[1].stats.parked)
    assert parked.gpus[1].weights_bytes == 0


def test_the_same_run_gives_the_same_snapshots(asked: Settings, tmp_path: Path) -> None:
    assert watched(asked, trace_of(BURST))[1] == watched(asked, trace_of(BURST))[1]
