"""Image and audio engines and their GPU's memory: what they claim, take, give back, and how they park."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aquahost.clock import VirtualClock
from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.engines.device import EngineDevice
from aquahost.engines.engine import Engine
from aquahost.engines.memory_desk import Part
from aquahost.engines.parking import GRANT_WAIT_S
from aquahost.engines.registry import load_engine
from aquahost.errors import EngineError, InvalidRequestError, LoadError
from aquahost.messages.memory import Demand, LeaseGranted, LeaseLost, LeaseRecalled, LeaseReturned
from aquahost.messages.prompts import AudioRequest, Finished, ImageRequest, Request
from aquahost.units import MIB
from aquahost_cuda.driver import EmulatedDriver
from driver_fixtures import emulated
from scripted_broker import ScriptedBroker
from tiny_media import (
    Reports,
    Result,
    collect,
    make_tiny_musicgen,
    make_tiny_sd,
    make_tiny_sdxl,
    make_tiny_stable_audio,
    prompt,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.torch.nn.utils.weight_norm. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.upcast_vae. is deprecated:FutureWarning"),
]
PATIENCE_S = 60
LINGER_S = 2.0
IMAGE = ImageRequest(text="a cat", seed=1, steps=2, width_px=32, height_px=32)
SOUND = AudioRequest(text="drums", seed=1, duration_s=0.1)
MODELS: dict[str, tuple[Callable[[Path], Path], Request, Request, dict[str, Any]]] = {
    "sd": (make_tiny_sd, IMAGE, ImageRequest(text="x", width_px=33, height_px=32), {"max_size_px": 64}),
    "sdxl-fp16": (make_tiny_sdxl, IMAGE, ImageRequest(text="x", steps=0), {"max_size_px": 32, "dtype": "float16"}),
    "musicgen": (make_tiny_musicgen, SOUND, AudioRequest(text="!" * 600), {"max_duration_s": 0.3}),
    "stable-audio": (make_tiny_stable_audio, SOUND, AudioRequest(text="\ud800"), {"max_duration_s": 0.3, "steps": 2}),
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Steps of tiny models on several threads mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, (make, *_) in MODELS.items()}


class Hosted:
    """One loaded model on GPU 0 of four, with a broker, driven as the worker's loop does."""

    def __init__(self, driver: EmulatedDriver, folder: Path, name: str, **changes: Any) -> None:
        _, self.request, self.bad_request, settings = MODELS[name]
        self.driver = driver
        self.clock = VirtualClock()
        self.broker = ScriptedBroker(clock=self.clock)
        self.device = EngineDevice(driver, 0, self.broker.desk(linger_s=LINGER_S, park_after_s=300.0))
        self.desk = self.device.desk
        kind = Kind.IMAGE if isinstance(self.request, ImageRequest) else Kind.AUDIO
        entry = ModelSettings(kind=kind, source=str(folder), **{**settings, **changes})
        self.engine: Engine = load_engine(name, entry, SchedulerSettings(), self.device, Reports())
        self.weights_bytes = self.engine.stats().weights_bytes

    def run_pass(self, results: dict[str, Result]) -> None:
        """One pass of the loop."""
        self.engine.tend()
        for message in self.broker.answer(self.engine.memory_reports()):
            self.engine.on_memory(message)
        if self.engine.has_work():
            collect(results, self.engine.step())
        else:
            time.sleep(min(0.001, self.engine.wait_s()))

    def run_until(self, reached: Callable[[], bool], results: dict[str, Result] | None = None) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not reached():
            assert time.monotonic() < deadline_s
            self.run_pass(results or {})

    def make(self, **requests: Request) -> dict[str, Result]:
        """All that becomes of these prompts."""
        results = {name: Result() for name in requests}
        for name, request in requests.items():
            self.engine.submit(prompt(name, request))
        self.run_until(lambda: all(result.finished for result in results.values()), results)
        return results

    def data(self) -> bytes:
        """What the model makes of its request."""
        return self.make(p=self.request)["p"].data

    def rest(self) -> None:
        """Until the memory for activations is given back."""
        self.run_pass({})
        self.clock.advance(LINGER_S)
        self.run_pass({})
        assert self.engine.stats().work_bytes == 0

    def park(self, where: str) -> None:
        self.rest()
        self.clock.advance(300)
        self.run_pass({})
        if where == "host":
            self.clock.advance(GRANT_WAIT_S)
        else:
            demand = [one for one in self.broker.heard_of(Demand) if one.nbytes][-1]
            self.engine.on_memory(LeaseGranted(5, int(where.removeprefix("GPU ")), demand.nbytes))
        self.run_until(lambda: self.engine.stats().parked == where)

    def used_bytes(self, gpu: int = 0) -> int:
        free_bytes, total_bytes = self.driver.memory_of(gpu)
        return total_bytes - free_bytes

    def close(self) -> None:
        self.engine.close()
        self.device.close()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path) as opened:
        yield opened


@pytest.fixture
def hosted(driver: EmulatedDriver, folders: dict[str, Path]) -> Iterator[Hosted]:
    made = Hosted(driver, folders["sd"], "sd")
    yield made
    made.close()


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_makes_is_the_same_after_it_was_parked(
    driver: EmulatedDriver, folders: dict[str, Path], name: str
) -> None:
    hosted = Hosted(driver, folders[name], name)
    before = hosted.data()
    for where in ("host", "GPU 2"):
        hosted.park(where)
        stats = hosted.engine.stats()
        assert (hosted.used_bytes(), stats.weights_bytes, hosted.broker.claimed_bytes) == (0, 0, 0)
        assert (stats.host_bytes > 0, stats.borrowed_bytes > 0) == (where == "host", where != "host")
        with pytest.raises(InvalidRequestError):
            hosted.engine.submit(prompt("bad", hosted.bad_request))
        assert hosted.engine.stats().parked == where, "what is refused wakes nobody"
        assert hosted.data() == before
        stats = hosted.engine.stats()
        assert (stats.parked, stats.host_bytes, stats.borrowed_bytes) == ("", 0, 0)
    hosted.close()


def test_only_weights_are_held_while_no_prompt_runs(hosted: Hosted) -> None:
    assert hosted.used_bytes() == hosted.weights_bytes == hosted.broker.claimed_bytes, "the trials hold nothing"
    hosted.data()
    stats = hosted.engine.stats()
    assert stats.work_bytes > 0
    assert hosted.used_bytes() == stats.weights_bytes + stats.work_bytes == hosted.broker.claimed_bytes
    assert 0 < hosted.engine.wait_s() <= 0.5
    hosted.rest()
    assert hosted.used_bytes() == hosted.weights_bytes == hosted.broker.claimed_bytes
    assert hosted.engine.wait_s() == 0.5


def test_a_step_waits_until_its_memory_is_settled(hosted: Hosted) -> None:
    hosted.broker.hesitates = True
    hosted.engine.submit(prompt("p", hosted.request))
    for _ in range(3):
        hosted.run_pass({})
        assert not hosted.engine.has_work()
        assert 0 < hosted.engine.wait_s() <= 0.05
    assert hosted.used_bytes() == hosted.weights_bytes
    hosted.broker.settle(hosted.desk)
    hosted.engine.tend()
    assert hosted.engine.has_work()
    assert hosted.engine.wait_s() == 0
    assert hosted.used_bytes() == hosted.broker.claimed_bytes
    hosted.engine.cancel("p")


def larger(px: int) -> ImageRequest:
    return ImageRequest(text="a lake", seed=2, steps=2, width_px=px, height_px=px)


@pytest.fixture
def roomy(driver: EmulatedDriver, folders: dict[str, Path]) -> Iterator[Hosted]:
    """A model that makes small images, and such as need several pages of memory."""
    made = Hosted(driver, folders["sd"], "sd", max_size_px=256)
    yield made
    made.close()


def test_larger_images_claim_more(roomy: Hosted) -> None:
    roomy.make(small=larger(16))
    small_bytes = roomy.engine.stats().work_bytes
    roomy.make(large=larger(256))
    assert roomy.engine.stats().work_bytes > small_bytes
    assert roomy.engine.stats().work_bytes <= roomy.engine.footprint.peak_bytes + 2 * MIB


def test_a_prompt_that_can_not_have_its_memory_fails_alone(roomy: Hosted) -> None:
    roomy.broker.limit_bytes = roomy.weights_bytes + 2 * MIB
    results = roomy.make(first=larger(256), second=larger(16), third=larger(256))
    assert results["second"].data
    for name in ("first", "third"):
        error = error_of(results[name].finished)
        assert (error.status, error.code) == (503, "out_of_memory")
        assert "MiB are needed" in error.message
        assert "2.0 MiB can be had" in error.message
    roomy.broker.limit_bytes = 1 << 40
    assert roomy.make(later=larger(256))["later"].data


def test_prompts_that_have_begun_go_on_while_another_waits_for_room(roomy: Hosted) -> None:
    results = {name: Result() for name in ("small", "large")}
    roomy.engine.submit(prompt("small", larger(16)))
    roomy.run_until(lambda: bool(results["small"].progress), results)
    roomy.broker.limit_bytes = roomy.weights_bytes + roomy.engine.stats().work_bytes
    roomy.engine.submit(prompt("large", larger(256)))
    roomy.run_until(lambda: results["small"].finished is not None, results)
    assert results["small"].data
    assert results["large"].finished is None, "with the other one gone it may fit"
    roomy.broker.limit_bytes = 1 << 40
    roomy.run_until(lambda: results["large"].finished is not None, results)
    assert results["large"].data


def test_a_gpu_filled_by_strangers_refuses_prompts_until_they_are_gone(roomy: Hosted) -> None:
    stranger = roomy.device.buffer(roomy.device.free_bytes() - 2 * MIB)
    error = error_of(roomy.make(p=larger(256))["p"].finished)
    assert (error.status, error.code) == (503, "out_of_memory")
    assert "GPU 0 has 2.0 MiB" in error.message
    stranger.close()
    assert roomy.make(p=larger(256))["p"].data


def test_a_model_that_can_not_be_woken_says_so_and_can_be_later(hosted: Hosted) -> None:
    before = hosted.data()
    hosted.park("host")
    hosted.broker.limit_bytes = MIB
    for _ in range(2):
        results = hosted.make(a=hosted.request, b=hosted.request)
        errors = [error_of(result.finished) for result in results.values()]
        assert {(error.status, error.code) for error in errors} == {(503, "out_of_memory")}
        assert all("cannot be woken now" in error.message for error in errors)
    assert hosted.engine.stats().parked == "host"
    hosted.broker.limit_bytes = 1 << 40
    assert hosted.data() == before


@pytest.mark.parametrize("when", ["leaving", "parked and recalled", "returning"])
def test_a_prompt_that_comes_amid_a_copy_is_served(tmp_path: Path, folders: dict[str, Path], when: str) -> None:
    with emulated(tmp_path, host_bytes_per_s=10e6, peer_bytes_per_s=10e6) as driver:
        hosted = Hosted(driver, folders["sd"], "sd")
        before = hosted.data()
        hosted.rest()
        hosted.clock.advance(300)
        hosted.run_pass({})
        (demand,) = hosted.broker.heard_of(Demand)
        hosted.engine.on_memory(LeaseGranted(5, 1, demand.nbytes))
        assert hosted.engine.wait_s() == 0.001
        if when != "leaving":
            hosted.run_until(lambda: hosted.engine.stats().parked == "GPU 1")
        if when == "parked and recalled":
            hosted.engine.on_memory(LeaseRecalled(5, 0, 1.0))
            assert hosted.engine.stats().host_bytes == demand.nbytes
        if when == "returning":
            hosted.engine.submit(prompt("early", hosted.request))
            hosted.run_pass({})
            hosted.engine.cancel("early")
        assert hosted.data() == before
        hosted.run_until(lambda: bool(hosted.broker.heard_of(LeaseReturned)))
        assert hosted.broker.heard_of(LeaseReturned) == [LeaseReturned(5, demand.nbytes)]
        assert hosted.used_bytes(1) == 0
        hosted.close()


def test_a_lease_that_comes_when_nothing_is_parked_goes_back(hosted: Hosted) -> None:
    hosted.engine.on_memory(LeaseGranted(9, 3, 4 * MIB))
    assert hosted.engine.memory_reports()[-1] == LeaseReturned(9, 4 * MIB)


def test_what_the_broker_said_during_the_load_is_not_forgotten(hosted: Hosted) -> None:
    hosted.desk.early.append(LeaseGranted(9, 3, 4 * MIB))
    hosted.engine.tend()
    hosted.engine.tend()
    assert hosted.engine.memory_reports() == [LeaseReturned(9, 4 * MIB)]


def test_lost_weights_end_the_engine(hosted: Hosted) -> None:
    hosted.park("GPU 1")
    with pytest.raises(EngineError, match="lost"):
        hosted.engine.on_memory(LeaseLost(5, "GPU 1 fell off the bus"))


def test_a_pinned_model_is_never_parked(driver: EmulatedDriver, folders: dict[str, Path]) -> None:
    hosted = Hosted(driver, folders["sd"], "sd", pin=True)
    hosted.clock.advance(10**6)
    hosted.run_pass({})
    assert hosted.broker.heard_of(Demand) == []
    hosted.close()


def test_weights_are_claimed_before_they_are_read_and_in_the_end_just_as_they_lie(
    driver: EmulatedDriver, folders: dict[str, Path]
) -> None:
    broker = ScriptedBroker(limit_bytes=MIB // 4)
    device = EngineDevice(driver, 0, broker.desk())
    entry = ModelSettings(kind=Kind.IMAGE, source=str(folders["sd"]), max_size_px=64)
    reports = Reports()
    with pytest.raises(LoadError, match=r"the weights of StableDiffusionPipeline would bring the model to .* at most"):
        load_engine("sd", entry, SchedulerSettings(), device, reports)
    assert [progress.stage for progress in reports.seen] == ["importing"]
    assert device.free_bytes() == device.total_bytes
    broker.limit_bytes = 1 << 40
    engine = load_engine("sd", entry, SchedulerSettings(), device, reports)
    broker.serve(device.desk, engine)
    assert device.desk.wanted(Part.WEIGHTS) == device.weights.gpu_bytes == device.total_bytes - device.free_bytes()
    assert broker.claimed_bytes == device.weights.gpu_bytes
    engine.close()
    device.close()


def error_of(finished: Finished | None) -> Any:
    assert finished is not None
    assert finished.error is not None, finished
    return finished.error
