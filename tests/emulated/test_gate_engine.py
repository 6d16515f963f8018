"""The engine of gated models: turns, outputs, failures, cancellation, random streams."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from aquahost.clock import Clock, SystemClock, VirtualClock
from aquahost.config.settings import LeasingSettings, Policy
from aquahost.engines.gate import Arrive
from aquahost.engines.gated import GatedEngine
from aquahost.engines.gated_model import Job, Made, Trial
from aquahost.engines.memory_curve import MemoryCurve
from aquahost.engines.memory_desk import MemoryDesk
from aquahost.errors import InvalidRequestError, RequestError
from aquahost.log_privacy import PrivateFormatter
from aquahost.messages.prompts import (
    Accepted,
    Finished,
    FinishReason,
    ImageRequest,
    Progress,
    Prompt,
    PromptState,
    Request,
    StateChanged,
)
from aquahost.messages.wire import Footprint, Standing
from tiny_media import PlainDevice, collect, prompt, run_all
from tiny_media import Result as MediaResult

Work = Callable[[Arrive], Made]


class _FakeModel:
    """Runs whatever work its test registered under the request's text."""

    def __init__(self, works: dict[str, Work]) -> None:
        self.footprint = Footprint(detail="fake")
        self.torch_device = torch.device("cpu")
        self._works = works

    def prepare(self, request: Request) -> Job:
        assert isinstance(request, ImageRequest)
        if request.text not in self._works:
            raise InvalidRequestError("no such work", param="prompt")
        return Job(work=self._works[request.text], seed=request.seed or 0, size=1.0, steps=3)

    def trials(self) -> list[Trial]:
        return []


def _three_steps(arrive: Arrive) -> Made:
    for step in range(1, 4):
        arrive(step, 3)
    return Made(media_type="image/png", data=b"done")


def _engine(works: dict[str, Work], max_begun: int = 4) -> GatedEngine:
    return _engine_of(_FakeModel(works), max_begun)


def _engine_of(
    model: _FakeModel, max_begun: int = 1, *, policy: Policy = Policy.FCFS, clock: Clock | None = None
) -> GatedEngine:
    device: Any = PlainDevice(desk=MemoryDesk(LeasingSettings(linger_s=0), clock or SystemClock()))
    return GatedEngine(model, device, MemoryCurve([]), model.footprint, policy=policy, max_begun=max_begun)


def _ask(text: str, seed: int = 0) -> ImageRequest:
    return ImageRequest(text=text, seed=seed)


def test_a_prompt_is_accepted_then_runs_then_progresses_then_is_done() -> None:
    engine = _engine({"draw": _three_steps})
    assert not engine.has_work()
    assert engine.step() == []
    assert engine.submit(prompt("p", _ask("draw"))) == Accepted(prompt_id="p", steps=3)
    assert (engine.stats().waiting, engine.stats().running) == (1, 0)
    assert engine.step() == [
        StateChanged(prompt_id="p", state=PromptState.RUNNING),
        Progress(prompt_id="p", step=1, steps=3),
    ]
    assert (engine.stats().waiting, engine.stats().running) == (0, 1)
    results = {"p": MediaResult()}
    while engine.has_work():
        collect(results, engine.step())
    assert results["p"].data == b"done"
    assert engine.stats().steps == 4
    assert engine.stats().running == 0


def test_prompts_take_turns_and_no_more_than_max_begun_hold_memory() -> None:
    begun: list[int] = []
    running = 0

    def work(arrive: Arrive) -> Made:
        nonlocal running
        running += 1
        begun.append(running)
        made = _three_steps(arrive)
        running -= 1
        return made

    engine = _engine({"draw": work}, max_begun=2)
    results = run_all(engine, {name: _ask("draw") for name in "abcde"})
    assert all(result.data == b"done" for result in results.values())
    assert max(begun) == 2


def test_a_failing_prompt_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    words = "bad latents"  # not in the line that raises, which a traceback quotes

    def fail(arrive: Arrive) -> Made:
        arrive(1, 3)
        raise RuntimeError(words)

    engine = _engine({"fail": fail, "draw": _three_steps})
    results = run_all(engine, {"bad": _ask("fail"), "good": _ask("draw")})
    assert results["good"].data == b"done"
    finished = results["bad"].finished
    assert finished is not None
    assert finished.error is not None
    assert finished.reason is FinishReason.ERROR
    assert finished.error.status == 500
    assert "bad latents" in finished.error.message
    (record,) = caplog.records
    private, asked_for = (PrivateFormatter(log_prompts=log_prompts).format(record) for log_prompts in (False, True))
    assert "RuntimeError" in private
    assert "bad latents" not in private
    assert "bad latents" in asked_for


@pytest.mark.parametrize(
    ("error", "status"), [(KeyError("sigmas"), 500), (TypeError("TextEncodeInput"), 500), (MemoryError(), 503)]
)
def test_a_check_that_breaks_refuses_its_prompt_alone(error: Exception, status: int) -> None:
    class Broken(_FakeModel):
        def prepare(self, request: Request) -> Job:
            if request == _ask("break"):
                raise error
            return super().prepare(request)

    engine = _engine_of(Broken({"draw": _three_steps}))
    engine.submit(prompt("good", _ask("draw")))
    with pytest.raises(RequestError) as refusal:
        engine.submit(prompt("bad", _ask("break")))
    assert (refusal.value.status, refusal.value.type) == (
        status,
        "server_error" if status == 500 else "service_unavailable_error",
    )
    results = {"good": MediaResult()}
    while engine.has_work():
        collect(results, engine.step())
    assert results["good"].data == b"done"


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_is_told_as_such_and_survived(error: Exception) -> None:
    def fail(arrive: Arrive) -> Made:
        raise error

    engine = _engine({"fail": fail, "draw": _three_steps})
    finished = run_all(engine, {"p": _ask("fail")})["p"].finished
    assert finished is not None
    assert finished.error is not None
    assert (finished.error.status, finished.error.code) == (503, "out_of_memory")
    assert "ran out of memory" in finished.error.message
    assert run_all(engine, {"q": _ask("draw")})["q"].data == b"done"


def test_a_refusal_found_while_running_keeps_its_field() -> None:
    def refuse(arrive: Arrive) -> Made:
        raise InvalidRequestError("withheld", param="prompt", code="content_policy_violation")

    finished = run_all(_engine({"draw": refuse}), {"p": _ask("draw")})["p"].finished
    assert finished is not None
    assert finished.error is not None
    assert (finished.error.status, finished.error.param) == (400, "prompt")
    assert finished.error.code == "content_policy_violation"


def test_an_error_that_breaks_the_device_ends_the_engine() -> None:
    def fail(arrive: Arrive) -> Made:
        raise torch.AcceleratorError("an illegal memory access was encountered")

    engine = _engine({"fail": fail})
    engine.submit(prompt("p", _ask("fail")))
    with pytest.raises(torch.AcceleratorError):
        engine.step()


def test_cancelling_frees_a_prompt_wherever_it_stands_and_the_others_go_on() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def work(arrive: Arrive) -> Made:
        latents = torch.zeros(16)
        held.append(weakref.ref(latents))
        return _three_steps(arrive)

    engine = _engine({"draw": work}, max_begun=2)
    for name in "abc":
        engine.submit(prompt(name, _ask("draw")))
    engine.step()
    engine.step()
    assert len([latents for latents in held if latents() is not None]) == 2
    engine.cancel("c")
    engine.cancel("a")
    engine.cancel("a")
    engine.cancel("unknown")
    assert len([latents for latents in held if latents() is not None]) == 1
    results = {"b": MediaResult()}
    while engine.has_work():
        collect(results, engine.step())
    assert results["b"].data == b"done"


def test_closing_ends_every_prompt_and_thread() -> None:
    threads = set(threading.enumerate())
    engine = _engine({"draw": _three_steps}, max_begun=2)
    for name in "abc":
        engine.submit(prompt(name, _ask("draw")))
    engine.step()
    engine.step()
    assert len(threading.enumerate()) == len(threads) + 2
    engine.close()
    assert set(threading.enumerate()) <= threads
    assert not engine.has_work()


def test_each_prompt_draws_from_a_random_stream_of_its_own() -> None:
    def draw(arrive: Arrive) -> Made:
        numbers = []
        for step in range(1, 4):
            numbers.append(torch.rand(()).item())
            arrive(step, 3)
        return Made(media_type="text/plain", data=repr(numbers).encode())

    def alone(seed: int) -> bytes:
        generator = torch.Generator().manual_seed(seed)
        return repr([torch.rand((), generator=generator).item() for _ in range(3)]).encode()

    torch.manual_seed(99)
    outside = torch.get_rng_state()
    results = run_all(_engine({"draw": draw}), {"a": _ask("draw", 1), "b": _ask("draw", 2), "c": _ask("draw", 1)})
    assert [results[name].data for name in "abc"] == [alone(1), alone(2), alone(1)]
    assert torch.equal(torch.get_rng_state(), outside)


class _Costly(_FakeModel):
    """Every step takes as long as the request's guidance says, on a clock that only steps move."""

    def __init__(self, clock: VirtualClock, steps: int) -> None:
        super().__init__({})
        self._clock, self._steps_each = clock, steps

    def prepare(self, request: Request) -> Job:
        assert isinstance(request, ImageRequest)
        cost_s = request.guidance or 0.0

        def work(arrive: Arrive) -> Made:
            for step in range(1, self._steps_each + 1):
                self._clock.advance(cost_s)
                arrive(step, self._steps_each)
            return Made(media_type="image/png", data=b"done")

        return Job(work=work, seed=0, size=1.0, steps=self._steps_each)


def _costly(policy: Policy, *, steps: int = 40, max_begun: int = 4) -> GatedEngine:
    clock = VirtualClock()
    return _engine_of(_Costly(clock, steps), max_begun, policy=policy, clock=clock)


def _submit(engine: GatedEngine, prompt_id: str, tenant: str, step_s: float, **more: Any) -> None:
    request = ImageRequest(text="draw", guidance=step_s)
    engine.submit(Prompt(id=prompt_id, model="m", tenant=tenant, request=request, created_s=0.0, **more))


def _service(engine: GatedEngine, prefix: str) -> float:
    return sum(one.service_s for one in engine.standings() if one.prompt_id.startswith(prefix))


@pytest.mark.parametrize(("policy", "share"), [(Policy.FAIR, 1.0), (Policy.FCFS, 1 / 3)])
def test_a_tenant_that_sends_many_prompts_gets_no_more_device_time_if_fair(policy: Policy, share: float) -> None:
    engine = _costly(policy)
    _submit(engine, "one", "one", 0.1)
    for number in range(10):
        _submit(engine, f"many{number}", "many", 0.1)
    for _ in range(40):
        engine.tend()
        engine.step()
    assert _service(engine, "one") == pytest.approx(share * _service(engine, "many"), abs=0.21)
    engine.close()


def test_device_time_is_shared_and_not_steps() -> None:
    engine = _costly(Policy.FAIR)
    _submit(engine, "small", "one", 0.1)
    _submit(engine, "large", "other", 0.4)
    for _ in range(30):
        engine.step()
    assert _service(engine, "small") == pytest.approx(_service(engine, "large"), abs=0.41)
    engine.close()


def test_urgent_prompts_go_first_under_priority() -> None:
    engine = _costly(Policy.PRIORITY, steps=3)
    _submit(engine, "later", "t", 0.1, priority=1)
    engine.step()
    _submit(engine, "urgent", "t", 0.1, priority=0)
    ended = [out.prompt_id for _ in range(8) for out in engine.step() if isinstance(out, Finished)]
    assert ended == ["urgent", "later"]


def test_standings_tell_service_places_in_the_queue_and_when_a_prompt_begins() -> None:
    engine = _costly(Policy.FAIR, steps=10, max_begun=1)
    _submit(engine, "a1", "a", 0.5)
    _submit(engine, "a2", "a", 0.5)
    engine.step()
    _submit(engine, "b1", "b", 0.5)
    engine.step()
    # Of 10 steps each, 8, 10 and 10 are left; half a second each.
    assert engine.standings() == [
        Standing("a1", 1.0),
        Standing("b1", 0.0, position=1, next_slice_s=pytest.approx(0.5 * 28 / 3)),
        Standing("a2", 0.0, position=2, next_slice_s=pytest.approx(1.0 * 28 / 3)),
    ]
    engine.close()


def test_a_prompt_that_is_live_already_is_refused() -> None:
    engine = _costly(Policy.FAIR)
    _submit(engine, "p", "t", 0.1)
    with pytest.raises(InvalidRequestError, match="live already"):
        _submit(engine, "p", "t", 0.1)
    engine.close()
