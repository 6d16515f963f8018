"""Work behind a gate: one step at a time, one thread at a time."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest

from aquahost.engines.gate import Arrive, AtGate, Gate, Raised, Returned


class _Ballast:
    """Something whose end can be seen."""


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def _gate(work: Callable[[Arrive], object], name: str = "work") -> Gate[object]:
    return Gate(name, work, nullcontext)


def test_work_does_one_step_for_each_opening() -> None:
    done: list[int] = []

    def work(arrive: Arrive) -> str:
        for step in range(1, 4):
            done.append(step)
            arrive(step, 3)
        return "picture"

    gate = _gate(work)
    assert done == []
    for step in range(1, 4):
        assert gate.open() == AtGate(step, 3)
        assert done == list(range(1, step + 1))
    assert not gate.ended
    assert gate.open() == Returned("picture")
    assert gate.ended
    with pytest.raises(RuntimeError, match="work has ended"):
        gate.open()


def test_only_one_of_many_threads_computes_at_any_time() -> None:
    computing = 0
    most = 0

    def work(arrive: Arrive) -> None:
        nonlocal computing, most
        for step in range(20):
            computing += 1
            most = max(most, computing)
            threading.Event().wait(0.0002)  # lets any other runnable thread run
            computing -= 1
            arrive(step, 20)

    gates = [_gate(work) for _ in range(4)]
    while not all(gate.ended for gate in gates):
        for gate in gates:
            if not gate.ended:
                gate.open()
                assert computing == 0
    assert most == 1


def test_an_error_comes_out_of_the_opening_that_met_it() -> None:
    def work(arrive: Arrive) -> None:
        arrive(1, 2)
        raise ValueError("broken")

    gate = _gate(work)
    gate.open()
    arrival = gate.open()
    assert isinstance(arrival, Raised)
    assert isinstance(arrival.error, ValueError)
    assert gate.ended


def test_even_an_exit_in_the_work_is_only_reported() -> None:
    def work(arrive: Arrive) -> None:
        raise SystemExit(1)

    arrival = _gate(work).open()
    assert isinstance(arrival, Raised)
    assert isinstance(arrival.error, SystemExit)


def test_cancelling_unwinds_and_frees_at_once() -> None:
    ballast: list[weakref.ref[_Ballast]] = []
    unwound: list[str] = []

    def work(arrive: Arrive) -> None:
        latents = _Ballast()
        ballast.append(weakref.ref(latents))
        try:
            try:
                arrive(1, 2)
            except Exception:  # a library's own broad handler must not stop the unwinding
                unwound.append("swallowed")
        finally:
            unwound.append("finally")

    gate = _gate(work)
    gate.open()
    assert ballast[0]() is not None
    gate.cancel()
    assert unwound == ["finally"]
    assert ballast[0]() is None
    assert gate.ended
    gate.cancel()


def test_cancelled_work_that_goes_on_is_stopped_at_its_next_step() -> None:
    steps: list[int] = []

    def work(arrive: Arrive) -> None:
        for step in range(10):
            steps.append(step)
            try:
                arrive(step, 10)
            except BaseException:  # the worst a library could do
                if step > 2:
                    raise

    gate = _gate(work)
    gate.open()
    gate.cancel()
    assert steps == [0, 1, 2, 3]


def test_work_cancelled_before_its_first_step_never_runs() -> None:
    ran: list[bool] = []
    gate = _gate(lambda arrive: ran.append(True))
    gate.cancel()
    assert gate.ended
    assert ran == []


def test_results_are_not_kept_by_the_gate() -> None:
    gate = _gate(lambda arrive: _Ballast())
    arrival = gate.open()
    assert isinstance(arrival, Returned)
    ballast = weakref.ref(arrival.value)
    del arrival
    assert ballast() is None


def test_the_context_is_entered_in_the_thread_for_each_turn() -> None:
    log: list[str] = []

    @contextmanager
    def context() -> Iterator[None]:
        name = threading.current_thread().name
        log.append(f"{name} in")
        yield
        log.append(f"{name} out")

    def work(arrive: Arrive) -> None:
        log.append("one")
        arrive(1, 2)
        log.append("two")

    gate: Gate[None] = Gate("t", work, context)
    gate.open()
    log.append("owner")
    gate.open()
    assert log == ["t in", "one", "t out", "owner", "t in", "two", "t out"]
