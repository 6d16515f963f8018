"""The worker's loop, with a toy engine and the daemon's end of the socket in the test's hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise

import msgspec
import pytest
import zmq

from aquahost.clock import VirtualClock
from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings, ToySettings
from aquahost.engines.toy import ToyEngine
from aquahost.messages.prompts import Accepted, Finished, FinishReason, Output, Prompt, Sampling, TextRequest, Tokens
from aquahost.messages.wire import (
    Cancel,
    EngineStats,
    FromWorker,
    LoadProgress,
    Outputs,
    Standing,
    Stop,
    Submit,
    ToWorker,
)
from aquahost.worker.heartbeat import Pulse
from aquahost.worker.link import DaemonLink
from aquahost.worker.load import REPORT_PERIOD_S, LoadReporter
from aquahost.worker.loop import STANDING_S, STANDINGS_SHARE, STATS_PERIOD_S, WorkerLoop
from aquahost.worker.main import run_engine

ENDPOINT = "inproc://daemon"


class Bench:
    """A worker's link and the daemon's end of it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.pulse = Pulse()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.bind(ENDPOINT)
        self.link = DaemonLink(self._context, ENDPOINT, b"w1")

    def loop(self, engine: ToyEngine) -> WorkerLoop:
        return WorkerLoop(engine, self.link, self.pulse, self.clock)

    def say(self, *messages: ToWorker) -> None:
        for message in messages:
            self._router.send_multipart([b"w1", msgspec.msgpack.encode(message)])

    def heard(self) -> list[FromWorker]:
        messages: list[FromWorker] = []
        while self._router.poll(20):
            messages.append(msgspec.msgpack.decode(self._router.recv_multipart()[1], type=FromWorker))
        return messages

    def outputs(self) -> list[list[Output]]:
        return [message.outputs for message in self.heard() if isinstance(message, Outputs) and message.outputs]

    def close(self) -> None:
        self.link.close()
        self._router.close()
        self._context.term()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def toy() -> ToyEngine:
    return ToyEngine(ModelSettings(kind=Kind.TOY, toy=ToySettings(step_s=0), max_context=100), SchedulerSettings())


def prompt(prompt_id: str = "p", max_tokens: int = 2, text: str = "hi") -> Submit:
    request = TextRequest(text=text, sampling=Sampling(max_tokens=max_tokens))
    return Submit(Prompt(id=prompt_id, model="toy", tenant="t", request=request, created_s=0.0))


def test_acceptance_goes_out_before_the_step_and_a_step_s_outputs_as_one_message(bench: Bench) -> None:
    loop = bench.loop(toy())
    bench.say(prompt("a"), prompt("b"))
    loop._pass()
    accepted, stepped = bench.outputs()
    assert accepted == [Accepted("a", 1), Accepted("b", 1)]
    assert [output.prompt_id for output in stepped if isinstance(output, Tokens)] == ["a", "b"]


def test_a_refused_prompt_ends_at_once_with_what_an_api_needs_to_know(bench: Bench) -> None:
    loop = bench.loop(toy())
    bench.say(prompt(text="word " * 200))
    loop._pass()
    ((finished,),) = bench.outputs()
    assert isinstance(finished, Finished)
    assert finished.reason is FinishReason.ERROR
    assert finished.error is not None
    assert (finished.error.status, finished.error.code) == (400, "context_length_exceeded")


def test_a_cancelled_prompt_is_dropped_before_the_next_step(bench: Bench) -> None:
    loop = bench.loop(toy())
    bench.say(prompt("a", 50), prompt("b", 50))
    loop._pass()
    bench.heard()
    bench.say(Cancel("a"))
    loop._pass()
    assert [[output.prompt_id for output in outputs] for outputs in bench.outputs()] == [["b"]]


def test_figures_go_out_now_and_then_and_once_more_when_the_engine_falls_idle(bench: Bench) -> None:
    loop = bench.loop(toy())
    bench.say(prompt(max_tokens=6))

    def figures() -> list[EngineStats]:
        loop._pass()
        return [message.stats for message in bench.heard() if isinstance(message, Outputs) and message.stats]

    assert [(stats.waiting, stats.running) for stats in figures()] == [(1, 0)]
    assert figures() == []
    bench.clock.advance(STATS_PERIOD_S)
    assert [stats.running for stats in figures()] == [1]
    assert figures() == []
    assert figures() == []
    (last,) = figures()
    assert (last.running, last.output_tokens) == (0, 6)


class CrowdedEngine(ToyEngine):
    """Says how very many prompts stand, which takes its time."""

    def __init__(self, clock: VirtualClock, count: int, takes_s: float) -> None:
        super().__init__(ModelSettings(kind=Kind.TOY, toy=ToySettings(step_s=0)), SchedulerSettings())
        self._clock, self._count, self._takes_s = clock, count, takes_s

    def standings(self) -> list[Standing]:
        self._clock.advance(self._takes_s)
        return [Standing(f"p{number}", 0.0) for number in range(self._count)]


@pytest.mark.parametrize(
    ("count", "takes_s", "period_s"),
    [(1, 0.0, STATS_PERIOD_S), (5000, 0.0, 5000 * STANDING_S / STANDINGS_SHARE), (1, 0.02, 0.02 / STANDINGS_SHARE)],
)
def test_standings_come_with_figures_but_never_take_much_time(
    bench: Bench, count: int, takes_s: float, period_s: float
) -> None:
    loop = bench.loop(CrowdedEngine(bench.clock, count, takes_s))
    bench.say(prompt(max_tokens=10_000))
    sent_s: list[float] = []
    while len(sent_s) < 4:
        loop._pass()
        for message in bench.heard():
            assert isinstance(message, Outputs)
            if message.standings is not None:
                assert message.stats is not None
                sent_s.append(bench.clock.now_s())
        bench.clock.advance(STATS_PERIOD_S / 2)
    for sooner_s, later_s in pairwise(sent_s):
        assert period_s - 1e-6 <= later_s - sooner_s < period_s + 2 * STATS_PERIOD_S


def test_an_idle_worker_says_nothing_of_standings(bench: Bench) -> None:
    loop = bench.loop(toy())
    bench.say(prompt(max_tokens=1))
    loop._pass()
    *_, last = [message for message in bench.heard() if isinstance(message, Outputs)]
    assert last.stats is not None
    assert last.standings is None
    for _ in range(3):
        bench.clock.advance(STATS_PERIOD_S)
        loop._pass()
    assert bench.heard() == []


def test_the_pulse_counts_passes_and_shows_a_step_under_way(bench: Bench) -> None:
    seen: list[bool] = []
    settings = ModelSettings(kind=Kind.TOY, toy=ToySettings(step_s=1.0))
    engine = ToyEngine(settings, SchedulerSettings(), sleep=lambda _: seen.append(bench.pulse.busy))
    bench.say(prompt())
    threading.Timer(0.2, bench.say, [Stop()]).start()
    bench.loop(engine).run()
    assert seen == [True, True]
    assert bench.pulse.passes >= 2


class WatchedEngine(ToyEngine):
    """Notes whether the worker counts as busy while it takes and cancels prompts."""

    def __init__(self, pulse: Pulse) -> None:
        super().__init__(ModelSettings(kind=Kind.TOY, toy=ToySettings(step_s=0)), SchedulerSettings())
        self.seen: list[tuple[str, bool]] = []
        self._pulse = pulse

    def submit(self, prompt: Prompt) -> Accepted:
        self.seen.append(("submit", self._pulse.busy))
        return super().submit(prompt)

    def cancel(self, prompt_id: str) -> None:
        self.seen.append(("cancel", self._pulse.busy))
        super().cancel(prompt_id)


def test_taking_and_cancelling_prompts_counts_as_work_and_waiting_for_messages_does_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = WatchedEngine(bench.pulse)
    loop = bench.loop(engine)
    waited: list[bool] = []
    receive = bench.link.receive

    def watched_receive(timeout_s: float) -> list[ToWorker]:
        waited.append(bench.pulse.busy)
        return receive(timeout_s)

    monkeypatch.setattr(bench.link, "receive", watched_receive)
    bench.say(prompt("a", 50), Cancel("a"))
    loop._pass()
    loop._pass()
    assert engine.seen == [("submit", True), ("cancel", True)]
    assert waited == [False, False]


def test_figures_are_true_after_every_prompt_that_is_too_short_for_a_regular_report(bench: Bench) -> None:
    loop = bench.loop(toy())

    def last_figures() -> EngineStats | None:
        for _ in range(6):
            loop._pass()
        figures = [message.stats for message in bench.heard() if isinstance(message, Outputs) and message.stats]
        return figures[-1] if figures else None

    last_figures()
    for total in (3, 6):
        bench.say(prompt(max_tokens=3))
        last = last_figures()
        assert last is not None
        assert (last.waiting, last.running, last.output_tokens) == (0, 0, total)


class OddEngine(ToyEngine):
    """Fails to take the prompt "bad", after having taken half of it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(ModelSettings(kind=Kind.TOY, toy=ToySettings(step_s=0)), SchedulerSettings())
        self._error = error

    def submit(self, prompt: Prompt) -> Accepted:
        accepted = super().submit(prompt)
        if prompt.id == "bad":
            raise self._error
        return accepted


class OutOfMemoryError(RuntimeError):
    """As torch and the device layer name theirs."""


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (IndexError("template: a secret is out of range"), 500, "internal_error"),
        (MemoryError("a secret"), 503, "out_of_memory"),
        (OutOfMemoryError("a secret"), 503, "out_of_memory"),
    ],
)
def test_a_prompt_that_the_engine_stumbles_over_fails_alone(
    bench: Bench, caplog: pytest.LogCaptureFixture, error: Exception, status: int, code: str
) -> None:
    loop = bench.loop(OddEngine(error))
    bench.say(prompt("good", 2), prompt("bad", 2))
    loop._pass()
    answers, stepped = bench.outputs()
    assert answers[0] == Accepted("good", 1)
    (_, finished) = answers
    assert isinstance(finished, Finished)
    assert finished.error is not None
    assert (finished.prompt_id, finished.reason) == ("bad", FinishReason.ERROR)
    assert (finished.error.status, finished.error.code) == (status, code)
    assert "secret" not in finished.error.message
    assert "`aquahost logs toy`" in finished.error.message
    assert {output.prompt_id for output in stepped} == {"good"}
    assert "Traceback" in caplog.text
    assert [getattr(record, "of_prompt", False) for record in caplog.records] == [True]
    assert type(error).__name__ in caplog.text


class BrokenEngine(ToyEngine):
    def step(self) -> list[Output]:
        raise RuntimeError("the arena is gone")


def test_a_broken_engine_ends_the_worker_with_the_cause_in_its_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.say(prompt())
    engine = BrokenEngine(ModelSettings(kind=Kind.TOY), SchedulerSettings())
    assert run_engine(engine, bench.loop(engine)) == 1
    assert "RuntimeError: the arena is gone" in caplog.text


def test_load_reports_are_thinned_but_no_stage_and_no_end_is_lost(bench: Bench) -> None:
    report = LoadReporter(bench.link, bench.clock)
    for done in range(101):
        report(LoadProgress("loading weights", done, 100))
    report(LoadProgress("probing", 0, 0))
    bench.clock.advance(REPORT_PERIOD_S)
    report(LoadProgress("probing", 1, 0))
    assert bench.heard() == [
        LoadProgress("loading weights", 0, 100),
        LoadProgress("loading weights", 100, 100),
        LoadProgress("probing", 0, 0),
        LoadProgress("probing", 1, 0),
    ]
