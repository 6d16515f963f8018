"""The life of a hosted model: what is done about what happens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.daemon.lifecycle import (
    LEGAL_TRANSITIONS,
    Announce,
    CarryOnPrompts,
    EndPrompts,
    HeartbeatHeard,
    Instruction,
    KillWanted,
    KillWorker,
    LoadRefused,
    LoadRequested,
    PromptConvicted,
    PromptsGone,
    SpawnWorker,
    StopWorker,
    StrandPrompts,
    SupervisionEvent,
    TimePassed,
    UnloadRequested,
    WorkerExited,
    WorkerReady,
)
from aquahost.daemon.supervision import Supervision
from aquahost.daemon.supervision_limits import SupervisionLimits
from aquahost.events import EventKind
from aquahost.messages.snapshot import ModelState

LIMITS = SupervisionLimits(heartbeat_timeout_s=10, step_timeout_s=100, max_restarts=2, stall_s=1e9)
DIED = WorkerExited("was killed by SIGKILL")
OUTSIDE = WorkerExited("was killed by SIGKILL", from_outside=True)
GONE = EndPrompts("the worker of chat died; see `aquahost logs chat`", "worker_died")
UNLOADED = EndPrompts("the model chat was unloaded", "model_unloaded")


class Life:
    """A `Supervision` with a clock, and what it last ordered."""

    def __init__(self, **limits: Any) -> None:
        fields = {name: getattr(LIMITS, name) for name in SupervisionLimits.__slots__}
        self.supervision = Supervision("chat", SupervisionLimits(**{**fields, **limits}))
        self.now_s = 1000.0
        self.orders: list[Instruction] = []

    def __call__(self, event: SupervisionEvent, after_s: float = 0.0) -> list[Instruction]:
        """Let `event` happen; returns the instructions that are not announcements."""
        self.now_s += after_s
        self.orders = self.supervision.handle(event, self.now_s)
        return [order for order in self.orders if not isinstance(order, Announce)]

    @property
    def state(self) -> ModelState:
        return self.supervision.state

    @property
    def announced(self) -> list[EventKind]:
        return [order.kind for order in self.orders if isinstance(order, Announce)]


@pytest.fixture
def life() -> Life:
    return Life()


@pytest.fixture
def ready(life: Life) -> Life:
    life(LoadRequested())
    life(WorkerReady())
    assert life.state is ModelState.READY
    return life


def test_loading_begins_a_worker_and_is_done_when_it_says_so(life: Life) -> None:
    assert life(LoadRequested()) == [SpawnWorker()]
    assert life.announced == [EventKind.MODEL_LOADING]
    assert life.state is ModelState.LOADING
    assert life(WorkerReady()) == [CarryOnPrompts()]
    assert life.announced == [EventKind.MODEL_READY]
    assert life.state is ModelState.READY


def test_asking_again_does_nothing(life: Life) -> None:
    life(LoadRequested())
    assert life(LoadRequested()) == []
    life(WorkerReady())
    assert life(LoadRequested()) == []
    assert life.orders == []


def test_a_model_that_cannot_be_loaded_is_failed_and_not_tried_again(life: Life) -> None:
    life(LoadRequested())
    assert life(LoadRefused("no config.json in /nowhere")) == [GONE, StopWorker()]
    assert (life.state, life.supervision.reason) == (ModelState.FAILED, "no config.json in /nowhere")
    assert life(WorkerExited("exited with status 3")) == []
    assert life(TimePassed(), after_s=1000) == []
    assert not life.supervision.worker_died


def test_a_refusal_before_any_worker_was_begun_leaves_none_to_stop(life: Life) -> None:
    life(LoadRequested())
    assert life(LoadRefused("gpu: 9 does not exist", worker_runs=False)) == [GONE]
    assert not life.supervision.worker_runs


def test_a_failed_model_is_loaded_again_when_asked_for(life: Life) -> None:
    life(LoadRequested())
    life(LoadRefused("nothing there"))
    assert life(LoadRequested()) == []  # its worker is still there
    assert SpawnWorker() in life(WorkerExited("exited with status 3"))
    assert (life.state, life.supervision.reason) == (ModelState.LOADING, None)


def test_the_prompts_of_a_worker_that_dies_wait_until_it_is_back(ready: Life) -> None:
    assert ready(DIED) == [StrandPrompts(blamed=True)]
    assert ready.announced == [EventKind.WORKER_DIED]
    assert ready.state is ModelState.LOADING
    assert ready.supervision.reason == "its worker was killed by SIGKILL"
    assert ready.supervision.worker_died
    assert ready(TimePassed(), after_s=0.01) == []
    assert ready(TimePassed(), after_s=LIMITS.first_backoff_s) == [SpawnWorker()]
    assert ready(WorkerReady()) == [CarryOnPrompts()]
    assert ready.supervision.restarts == 1
    assert not ready.supervision.worker_died


def test_a_prompt_is_blamed_only_for_what_it_can_have_done(ready: Life) -> None:
    assert ready(WorkerExited("was killed by SIGKILL", from_outside=True)) == [StrandPrompts(blamed=False)]
    ready(TimePassed(), after_s=LIMITS.first_backoff_s)
    ready(WorkerReady())
    assert ready(KillWanted("kept memory")) == [KillWorker()]
    assert ready(DIED) == [StrandPrompts(blamed=False)]
    ready(TimePassed(), after_s=2 * LIMITS.first_backoff_s)
    ready(WorkerReady())
    ready(HeartbeatHeard(7, busy=True))
    ready(HeartbeatHeard(7, busy=True), after_s=LIMITS.step_timeout_s - 1)
    ready(HeartbeatHeard(7, busy=True), after_s=2)
    assert ready(TimePassed()) == [KillWorker()]
    assert ready(WorkerExited("was killed by SIGKILL", from_outside=True)) == [StrandPrompts(blamed=True)]


def test_a_worker_that_is_stuck_may_keep_memory_for_a_prompts_sake(ready: Life) -> None:
    ready(HeartbeatHeard(7, busy=True))
    ready(HeartbeatHeard(7, busy=True), after_s=LIMITS.stuck_s + 1)
    assert ready(KillWanted("kept memory")) == [KillWorker()]
    assert ready(DIED) == [StrandPrompts(blamed=True)]


def test_a_convicted_prompt_clears_the_model(ready: Life) -> None:
    for _ in range(3 * LIMITS.max_restarts):
        assert ready(DIED) == [StrandPrompts(blamed=True)]
        ready(PromptConvicted())
        ready(TimePassed(), after_s=LIMITS.max_backoff_s)
        ready(WorkerReady())
    assert ready.state is ModelState.READY


def test_too_many_crashes_in_a_row_end_the_prompts(life: Life) -> None:
    life = Life(max_restarts=0)
    life(LoadRequested())
    life(WorkerReady())
    assert life(DIED) == [GONE]
    assert life.state is ModelState.FAILED


def test_each_crash_in_a_row_doubles_the_wait_up_to_a_limit() -> None:
    waits = [LIMITS.backoff_s(crashes) for crashes in (1, 2, 3, 50, 10**6)]
    assert waits == [0.25, 0.5, 1.0, LIMITS.max_backoff_s, LIMITS.max_backoff_s]


def test_crashes_in_a_row_are_told_with_the_wait_that_they_cost(ready: Life) -> None:
    ready(DIED)
    assert ready.supervision.reason == "its worker was killed by SIGKILL"
    ready(TimePassed(), after_s=1)
    ready(DIED)
    assert ready.supervision.reason == (
        "its worker was killed by SIGKILL, crash 2 in a row (2 are borne); the next begins after 500 ms"
    )


def test_crashes_in_a_row_end_in_failure_with_the_last_one_s_reason(life: Life) -> None:
    life(LoadRequested())
    for _ in range(LIMITS.max_restarts):
        life(DIED)
        assert life(TimePassed(), after_s=60) == [SpawnWorker()]
    life(WorkerExited("exited with status 1: MemoryError"))
    assert life.announced == [EventKind.WORKER_DIED, EventKind.MODEL_FAILED]
    assert life.state is ModelState.FAILED
    assert life.supervision.reason == "its worker died 3 times in a row; at last it exited with status 1: MemoryError"
    assert life.supervision.worker_died
    assert life(TimePassed(), after_s=1000) == []


def test_without_restarts_the_first_crash_is_the_last() -> None:
    life = Life(max_restarts=0)
    life(LoadRequested())
    life(DIED)
    assert life.state is ModelState.FAILED


def test_a_healthy_time_makes_earlier_crashes_forgotten() -> None:
    life = Life(heartbeat_timeout_s=1e6, step_timeout_s=1e6)
    life(LoadRequested())
    for _ in range(10):
        life(WorkerReady())
        life(DIED, after_s=LIMITS.healthy_s)
        assert life(TimePassed(), after_s=LIMITS.first_backoff_s) == [SpawnWorker()]


def test_however_often_a_ready_worker_is_killed_from_outside_its_model_is_not_failed(life: Life) -> None:
    life(LoadRequested())
    for _ in range(5 * LIMITS.max_restarts):
        life(WorkerReady())
        assert life(OUTSIDE) == [StrandPrompts(blamed=False)]
        assert life(TimePassed(), after_s=LIMITS.first_backoff_s) == [SpawnWorker()]
    assert life.supervision.restarts == 5 * LIMITS.max_restarts


def test_one_that_is_killed_from_outside_whenever_it_loads_is_failed_in_the_end(ready: Life) -> None:
    """As by a watchdog for memory, which strikes while a model takes most."""
    for crashes in range(1, LIMITS.max_restarts + 1):
        ready(OUTSIDE)
        assert ready.supervision.restarts == crashes - 1
        assert ready(TimePassed(), after_s=LIMITS.backoff_s(crashes) - 0.01) == []
        assert ready(TimePassed(), after_s=0.02) == [SpawnWorker()]
    assert ready(OUTSIDE) == [GONE]
    assert ready.state is ModelState.FAILED


def test_a_worker_that_the_daemon_kills_over_a_hang_counts_though_the_signal_is_one_from_outside() -> None:
    life = Life(max_restarts=1, step_timeout_s=9)
    life(LoadRequested())
    for _ in range(2):
        life(WorkerReady())
        life(HeartbeatHeard(7, busy=True))
        life(HeartbeatHeard(7, busy=True), after_s=9.5)
        assert life(TimePassed()) == [KillWorker()]
        life(OUTSIDE)
        life(TimePassed(), after_s=LIMITS.max_backoff_s)
    assert life.state is ModelState.FAILED


def test_asking_for_a_model_that_waits_for_its_restart_ends_the_wait(ready: Life) -> None:
    ready(DIED)
    assert ready(LoadRequested()) == [SpawnWorker()]


def test_a_silent_worker_is_killed_and_restarted(ready: Life) -> None:
    ready(HeartbeatHeard(1, busy=False), after_s=9)
    assert ready(TimePassed(), after_s=9) == []
    assert ready(TimePassed(), after_s=2) == [KillWorker()]
    assert ready(TimePassed(), after_s=1) == []  # once is enough
    ready(DIED)
    assert ready.supervision.reason == "its worker gave no sign of life for 11.0 s and was killed"
    assert ready.state is ModelState.LOADING


def test_a_worker_silent_while_it_loads_is_given_more_time(life: Life) -> None:
    life(LoadRequested())
    assert life(TimePassed(), after_s=39) == []
    assert life(TimePassed(), after_s=2) == [KillWorker()]


def test_silence_is_suspicious_before_it_is_deadly(ready: Life) -> None:
    assert ready.supervision.suspicious_silence_s(ready.now_s + 4) is None
    assert ready.supervision.suspicious_silence_s(ready.now_s + 6) == 6


def test_a_step_that_takes_too_long_is_a_hang(ready: Life) -> None:
    for _ in range(20):
        ready(HeartbeatHeard(7, busy=True), after_s=5)
        assert ready(TimePassed()) == []
    ready(HeartbeatHeard(7, busy=True), after_s=6)
    assert ready(TimePassed()) == [KillWorker()]
    ready(DIED)
    assert "its worker hung for" in (ready.supervision.reason or "")


@pytest.mark.parametrize("draining", [False, True])
def test_what_a_dead_worker_logged_last_is_for_the_operator_alone(ready: Life, draining: bool) -> None:
    if draining:
        ready(UnloadRequested(30, live_prompts=1))
    told = ready(WorkerExited("exited with status 1: KeyError: 'a secret'"))
    assert told == ([GONE] if draining else [StrandPrompts(blamed=True)])
    assert "secret" not in GONE.message
    if not draining:
        assert "secret" in (ready.supervision.reason or "")
        assert any("secret" in order.message for order in ready.orders if isinstance(order, Announce))


@pytest.mark.parametrize("beats", [[(7, False)], [(7, True), (8, True)]])
def test_idling_and_making_progress_are_no_hang(ready: Life, beats: list[tuple[int, bool]]) -> None:
    for count in range(100):
        passes, busy = beats[count % len(beats)]
        ready(HeartbeatHeard(passes, busy), after_s=5)
        assert ready(TimePassed()) == []


def test_a_daemon_that_stood_still_itself_does_not_blame_the_worker() -> None:
    life = Life(stall_s=2.0)
    life(LoadRequested())
    life(WorkerReady())
    life(TimePassed())
    assert life(TimePassed(), after_s=3600) == []
    for _ in range(10):
        assert life(TimePassed(), after_s=1) == []
    assert life(TimePassed(), after_s=1) == [KillWorker()]


def test_unloading_waits_for_the_prompts_then_stops_the_worker(ready: Life) -> None:
    assert ready(UnloadRequested(30, live_prompts=2)) == []
    assert ready.state is ModelState.DRAINING
    ready(HeartbeatHeard(1, busy=True), after_s=8)
    assert ready(TimePassed()) == []
    assert ready(PromptsGone()) == [StopWorker()]
    ready(WorkerExited("exited with status 0"))
    assert ready.state is ModelState.UNLOADED
    assert ready.announced == [EventKind.MODEL_UNLOADED]
    assert ready.supervision.restarts == 0


def test_an_idle_model_stops_at_once(ready: Life) -> None:
    assert ready(UnloadRequested(30, live_prompts=0)) == [StopWorker()]


def test_prompts_that_outlast_the_draining_are_ended(ready: Life) -> None:
    ready(UnloadRequested(5, live_prompts=1))
    assert ready(TimePassed(), after_s=6) == [
        UNLOADED,
        StopWorker(),
    ]


def test_unloading_now_ends_prompts_at_once_and_asking_again_can_only_hurry(ready: Life) -> None:
    ready(UnloadRequested(5, live_prompts=1))
    assert ready(UnloadRequested(500, live_prompts=1)) == []
    assert StopWorker() in ready(UnloadRequested(0, live_prompts=1))


def test_a_worker_that_does_not_stop_is_killed(ready: Life) -> None:
    ready(UnloadRequested(0, live_prompts=0))
    assert ready(TimePassed(), after_s=LIMITS.stop_grace_s - 1) == []
    assert ready(TimePassed(), after_s=1) == [KillWorker()]
    ready(DIED)
    assert ready.state is ModelState.UNLOADED


def test_a_worker_that_dies_while_draining_ends_its_prompts_and_is_not_restarted(ready: Life) -> None:
    ready(UnloadRequested(30, live_prompts=1))
    assert ready(DIED) == [GONE]
    assert ready.state is ModelState.UNLOADED


def test_unloading_a_loading_model_kills_its_worker(life: Life) -> None:
    life(LoadRequested())
    assert life(UnloadRequested(30, live_prompts=0)) == [UNLOADED, KillWorker()]
    assert life(WorkerReady()) == []
    life(DIED)
    assert life.state is ModelState.UNLOADED


def test_unloading_a_model_that_waits_for_its_restart_ends_the_wait(ready: Life) -> None:
    ready(DIED)
    assert ready(UnloadRequested(30, live_prompts=0)) == [UNLOADED]
    assert ready.state is ModelState.UNLOADED
    assert ready(TimePassed(), after_s=1000) == []


def test_a_failed_model_can_be_put_away(life: Life) -> None:
    life(LoadRequested())
    life(LoadRefused("no", worker_runs=False))
    life(UnloadRequested(0, live_prompts=0))
    assert (life.state, life.supervision.reason) == (ModelState.UNLOADED, None)


def test_loading_while_it_drains_keeps_it(ready: Life) -> None:
    ready(UnloadRequested(30, live_prompts=1))
    assert ready(LoadRequested()) == []
    assert ready.state is ModelState.READY
    assert ready(PromptsGone()) == []


def test_loading_while_it_stops_begins_a_new_worker_afterwards(ready: Life) -> None:
    ready(UnloadRequested(30, live_prompts=0))
    assert ready(LoadRequested()) == []
    assert SpawnWorker() in ready(WorkerExited("exited with status 0"))
    assert ready.state is ModelState.LOADING


EVENTS = st.one_of(
    st.builds(LoadRequested),
    st.builds(UnloadRequested, st.sampled_from([0.0, 5.0, 30.0]), st.integers(0, 2)),
    st.builds(PromptsGone),
    st.builds(WorkerReady),
    st.builds(LoadRefused, st.just("no"), st.booleans()),
    st.builds(WorkerExited, st.just("was killed by SIGSEGV")),
    st.builds(HeartbeatHeard, st.integers(0, 2), st.booleans()),
    st.builds(TimePassed),
)


@given(st.lists(st.tuples(EVENTS, st.sampled_from([0.0, 0.1, 1.0, 7.0, 90.0])), max_size=60))
def test_whatever_happens_there_is_at_most_one_worker_and_every_transition_is_legal(
    story: list[tuple[SupervisionEvent, float]],
) -> None:
    life = Life()
    runs = False
    for event, after_s in story:
        about_worker = isinstance(event, WorkerReady | WorkerExited | LoadRefused | HeartbeatHeard)
        if about_worker and not runs:
            continue  # only a worker that runs can speak or end
        if isinstance(event, WorkerExited) or (isinstance(event, LoadRefused) and not event.worker_runs):
            runs = False
        before = life.state
        for order in life(event, after_s):
            if isinstance(order, SpawnWorker):
                assert not runs
                runs = True
            elif isinstance(order, StopWorker | KillWorker):
                assert runs
        assert life.supervision.worker_runs == runs
        if life.state in (ModelState.READY, ModelState.DRAINING):
            assert runs
        # One event may pass through a state, as from draining over unloaded to loading.
        reachable = LEGAL_TRANSITIONS[before] | {before}
        reachable |= {state for middle in reachable for state in LEGAL_TRANSITIONS[middle]}
        assert life.state in reachable
