"""Who computes on a GPU that several models share: the decision, and workers that follow it on a clock of the test."""

from __future__ import annotations

import fcntl
import heapq
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aquahost.clock import SystemClock, VirtualClock
from aquahost.scheduling.gpu_turns import (
    HANDOVER_S,
    PATIENCE_S,
    SLICE_S,
    STALE_S,
    Sharer,
    may_take,
    must_let_go,
    start_s,
)
from aquahost.worker.gpu_turns import DOUBT_S, LOOK_S, GpuTurns, Unshared, turns_at
from aquahost.worker.turn_board import MOST_SLOTS, NoSlotError, TurnBoard

NOW_S = 1000.0


def sharer(slot: int, virtual_s: float = 0.0, *, wants: bool = True, seen_s: float = NOW_S) -> Sharer:
    return Sharer(slot, wants, virtual_s, seen_s)


# -- the decision -----------------------------------------------------------------------------------------------------


def test_a_free_turn_is_for_whoever_waits_and_has_had_least() -> None:
    sharers = [sharer(0, 5.0), sharer(1, 3.0), sharer(2, 1.0, wants=False), sharer(3, 2.0, seen_s=NOW_S - 2 * STALE_S)]
    assert [may_take(me, sharers, NOW_S, NOW_S) for me in (0, 1)] == [False, True]


def test_who_comes_while_nobody_computes_gains_nothing_on_whoever_was_there() -> None:
    sharers = [sharer(0, 3600.0, wants=False), sharer(1, 0.0)]
    assert start_s(1, sharers, NOW_S) == 3600.0


def test_a_turn_that_the_first_one_does_not_take_is_anyone_s() -> None:
    sharers = [sharer(0, 5.0), sharer(1, 3.0)]
    assert not may_take(0, sharers, NOW_S - HANDOVER_S / 2, NOW_S)
    assert may_take(0, sharers, NOW_S - HANDOVER_S * 2, NOW_S)


def test_of_equals_one_is_first() -> None:
    sharers = [sharer(2, 1.0), sharer(4, 1.0)]
    assert [may_take(me, sharers, NOW_S, NOW_S) for me in (2, 4)] == [True, False]


def test_a_holder_lets_go_after_its_slice_to_one_that_waits_and_has_had_less() -> None:
    behind = [sharer(0, 5.0), sharer(1, 3.0)]
    assert must_let_go(0, behind, SLICE_S, NOW_S)
    assert not must_let_go(0, behind, SLICE_S / 2, NOW_S)
    for other in (sharer(1, 3.0, wants=False), sharer(1, 7.0), sharer(1, 3.0, seen_s=NOW_S - 2 * STALE_S)):
        assert not must_let_go(0, [sharer(0, 5.0), other], 100.0, NOW_S)
    assert not must_let_go(0, [sharer(0, 5.0)], 100.0, NOW_S)


def test_whoever_comes_back_starts_where_the_least_active_one_stands() -> None:
    sharers = [
        sharer(0, 1.0, wants=False),
        sharer(1, 9.0),
        sharer(2, 7.0),
        sharer(3, 2.0, wants=False),
        sharer(4, 3.0, seen_s=NOW_S - 2 * PATIENCE_S),
    ]
    assert start_s(0, sharers, NOW_S) == 7.0
    assert start_s(1, sharers, NOW_S) == 9.0
    assert start_s(0, sharers[:1], NOW_S) == 1.0


# -- workers on one board ---------------------------------------------------------------------------------------------


class Worker:
    """One worker's end, without the worker."""

    def __init__(self, path: Path, clock: VirtualClock) -> None:
        self.board = TurnBoard(str(path), patience_s=0.0)
        self.finished = 0
        self.turns = GpuTurns(self.board, clock, self._finish_work)

    def _finish_work(self) -> None:
        self.finished += 1


class Bench:
    """Workers of one GPU, and their clock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gpu0.turns"
        self.clock = VirtualClock(NOW_S)
        self._stack = ExitStack()

    def worker(self) -> Worker:
        worker = Worker(self.path, self.clock)
        self._stack.callback(worker.board.close)
        return worker

    def step(self, worker: Worker, step_s: float, *, more: bool = True) -> None:
        assert worker.turns.take()
        self.clock.advance(step_s)
        worker.turns.stepped(more=more)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_a_worker_alone_keeps_the_turn_and_waits_for_nothing(bench: Bench) -> None:
    alone = bench.worker()
    for _ in range(5):
        bench.step(alone, 1.0)
    assert (alone.turns.wait_s(), alone.finished) == (0.0, 0)
    assert alone.board.turn().holder == 0
    alone.turns.rest()
    assert alone.board.turn().holder is None


def test_two_workers_swap_after_a_slice_and_only_one_has_the_turn(bench: Bench) -> None:
    first, second = bench.worker(), bench.worker()
    bench.step(first, SLICE_S / 2)
    assert not second.turns.take()
    assert second.turns.wait_s() == LOOK_S
    bench.step(first, SLICE_S * 0.6)
    assert first.finished == 1, "the device has done all before another one begins"
    assert not first.turns.take()
    bench.step(second, SLICE_S / 4)
    assert second.turns.wait_s() == 0.0
    assert not first.turns.take()
    bench.step(second, SLICE_S * 2)
    bench.step(first, SLICE_S / 4)


def test_one_that_has_nothing_to_do_lets_go_at_once(bench: Bench) -> None:
    first, second = bench.worker(), bench.worker()
    bench.step(first, SLICE_S / 4, more=False)
    assert second.turns.take()
    second.turns.rest()
    assert first.turns.take()


def test_idleness_saves_nothing_up(bench: Bench) -> None:
    busy, back = bench.worker(), bench.worker()
    for _ in range(100):
        bench.step(busy, 1.0)
    assert not back.turns.take()
    bench.step(busy, 1.0)
    bench.step(back, 0.9)
    assert not busy.turns.take()
    bench.step(back, 0.2)
    assert busy.turns.take(), "the newcomer has had as much as the other since it came"


def test_a_worker_that_ends_with_the_turn_loses_it(bench: Bench) -> None:
    killed, other = bench.worker(), bench.worker()
    assert killed.turns.take()
    assert not other.turns.take()
    assert killed.board._life is not None
    os.close(killed.board._life)  # as the kernel does
    killed.board._life = None
    bench.clock.advance(DOUBT_S * 1.1)
    assert other.turns.take()
    assert bench.worker().board.slot == 0, "its slot is free"


def test_a_holder_that_is_silent_loses_the_turn_and_asks_for_it_again_when_it_is_back(bench: Bench) -> None:
    stopped, other = bench.worker(), bench.worker()
    assert stopped.turns.take()
    bench.clock.advance(PATIENCE_S * 0.9)
    assert not other.turns.take()
    bench.clock.advance(PATIENCE_S * 0.2)
    assert other.turns.take()
    stopped.turns.stepped(more=True)
    assert other.board.turn().holder == other.board.slot
    assert not stopped.turns.take()
    other.turns.stepped(more=False)
    assert stopped.turns.take()


def test_a_waiter_that_stopped_costs_the_others_a_moment(bench: Bench) -> None:
    stopped, first = bench.worker(), bench.worker()
    bench.step(first, SLICE_S / 2)
    assert not stopped.turns.take()
    bench.step(first, SLICE_S)
    assert not first.turns.take()
    bench.clock.advance(HANDOVER_S * 1.1)
    assert first.turns.take()
    first.turns.stepped(more=True)
    for _ in range(10):  # it is still taken for one that waits, then no more
        bench.clock.advance(STALE_S / 5)
        bench.step(first, SLICE_S)
    assert first.board.turn().holder == first.board.slot


def test_whoever_was_stopped_while_it_waited_has_saved_nothing_up(bench: Bench) -> None:
    first, stopped = bench.worker(), bench.worker()
    bench.step(first, SLICE_S / 2)
    assert not stopped.turns.take()
    bench.clock.advance(STALE_S * 2)
    for _ in range(50):
        bench.step(first, 1.0)
    assert not stopped.turns.take()
    bench.step(first, 1.0)
    bench.step(stopped, 0.7)
    assert not first.turns.take()
    bench.step(stopped, 0.7)
    assert first.turns.take()


def test_a_board_that_stays_locked_stops_nobody(bench: Bench) -> None:
    worker = bench.worker()
    with bench.path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # by one that is stopped just then
        assert not worker.turns.take()
        bench.clock.advance(PATIENCE_S * 1.1)
        bench.step(worker, 1.0)
        bench.step(worker, 1.0, more=False)
        assert isinstance(turns_at(str(bench.path.parent / "none" / "gpu0.turns"), bench.clock, lambda: None), Unshared)
        with pytest.raises(NoSlotError, match="stayed locked"):
            bench.worker()
    assert worker.board.turn().holder is None
    bench.step(worker, 1.0)
    assert worker.board.turn().holder == worker.board.slot


def test_a_board_has_so_many_slots_and_gives_them_again(bench: Bench) -> None:
    workers = [bench.worker() for _ in range(MOST_SLOTS)]
    assert [worker.board.slot for worker in workers] == list(range(MOST_SLOTS))
    with pytest.raises(NoSlotError, match="32 workers"):
        bench.worker()
    workers[7].board.close()
    assert bench.worker().board.slot == 7


def test_turns_cost_microseconds_to_one_that_is_alone(tmp_path: Path) -> None:
    board = TurnBoard(str(tmp_path / "turns"), patience_s=0.0)
    turns = GpuTurns(board, SystemClock(), lambda: None)
    turns.take()
    times_s = []
    for _ in range(2000):
        begun_s = time.perf_counter()
        turns.take()
        turns.stepped(more=True)
        times_s.append(time.perf_counter() - begun_s)
    assert sorted(times_s)[len(times_s) // 2] < 200e-6
    board.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=10)
@given(
    steps_s=st.lists(st.floats(0.001, 1.5), min_size=2, max_size=4),
    idle=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_models_that_always_want_it_share_the_device_equally_and_nobody_else_computes_meanwhile(
    tmp_path_factory: pytest.TempPathFactory, steps_s: list[float], idle: list[bool]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("board"))
    workers = [bench.worker() for _ in steps_s]
    had = [0.0] * len(workers)
    computing: set[int] = set()
    pauses = [*idle[: len(workers) - 1], False]  # some pause after every step
    due = [(NOW_S, number) for number in range(len(workers))]
    while bench.clock.now_s() < NOW_S + 40:
        at_s, number = heapq.heappop(due)
        bench.clock.advance(max(0.0, at_s - bench.clock.now_s()))
        turns = workers[number].turns
        pause_s = 0.0
        if number in computing:
            computing.remove(number)
            had[number] += steps_s[number]
            turns.stepped(more=not pauses[number])
            pause_s = 0.3 if pauses[number] else 0.0
        if not pause_s and turns.take():
            assert not computing
            computing.add(number)
            pause_s = steps_s[number]
        heapq.heappush(due, (bench.clock.now_s() + (pause_s or LOOK_S), number))
    steady = [had[number] for number in range(len(workers)) if not pauses[number]]
    assert max(steady) - min(steady) <= 2 * (max(steps_s) + SLICE_S)
    assert all(had)
    assert max(had) <= min(steady) + 2 * (max(steps_s) + SLICE_S), "whoever pauses gets no more than the others"
    bench.close()
