"""What work takes beyond the weights: measured while it runs, and at a model's load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from aquahost.clock import VirtualClock
from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.engines.audio import load_audio
from aquahost.engines.diffusion import load_image
from aquahost.engines.gate import Arrive
from aquahost.engines.gated_model import Job, Made, Trial, doubling
from aquahost.engines.memory_curve import MemoryCurve
from aquahost.engines.peak_memory import measuring
from aquahost.engines.trials import CPU_BUDGET_S, measure_memory
from aquahost.errors import InvalidRequestError, LoadError
from aquahost.messages.prompts import ImageRequest, Request
from aquahost.messages.wire import Footprint
from aquahost.units import KIB
from tiny_media import PlainDevice, Reports, make_tiny_musicgen, make_tiny_sd, make_tiny_stable_audio, run_all

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.torch.nn.utils.weight_norm. is deprecated:FutureWarning"),
]
CPU = torch.device("cpu")


def test_the_peak_is_what_was_alive_at_once() -> None:
    with measuring(CPU) as meter:
        first = torch.zeros(KIB)
        second = first + 1
        del first
        third = second * 2
        assert meter.alive_bytes() == 8 * KIB
        del second, third
        assert meter.alive_bytes() == 0
    assert meter.peak_bytes() == 8 * KIB


def test_views_and_changes_in_place_take_nothing() -> None:
    with measuring(CPU) as meter:
        whole = torch.zeros(KIB)
        whole.view(2, -1).T.add_(1)
        part = whole[:1]
        del whole
        assert meter.alive_bytes() == meter.peak_bytes() == 4 * KIB, "the view keeps all of it"
        del part
        assert meter.alive_bytes() == 0


def test_what_was_there_before_is_not_counted() -> None:
    weights = torch.nn.Linear(64, 64)
    with torch.inference_mode(), measuring(CPU) as meter:
        turned = weights.weight.T
        assert meter.alive_bytes() == 0
        weights(turned)
    assert 64 * 64 * 4 <= meter.peak_bytes() <= 2 * 64 * 64 * 4


@pytest.mark.parametrize(
    ("first", "last", "sizes"), [(1, 1, [1]), (1, 8, [1, 2, 4, 8]), (1, 9, [1, 2, 4, 8, 9]), (64, 100, [64, 100])]
)
def test_sizes_double_up_to_the_last(first: float, last: float, sizes: list[float]) -> None:
    assert doubling(first, last) == sizes


class _Model:
    """Takes `width_px` KiB for each request while it computes, a quarter of that while it sleeps."""

    footprint = Footprint()
    torch_device = CPU

    def __init__(self, *sizes: int, clock: VirtualClock | None = None, fails: Exception | None = None) -> None:
        self.ran: list[int] = []
        self._sizes = sizes
        self._clock = clock
        self._fails = fails

    def trials(self) -> list[Trial]:
        return [Trial(f"size {size}", ImageRequest(text="x", width_px=size)) for size in self._sizes]

    def prepare(self, request: Request) -> Job:
        assert isinstance(request, ImageRequest)
        size = request.width_px or 0

        def work(arrive: Arrive) -> Made:
            self.ran.append(size)
            if self._clock is not None:
                self._clock.advance(size / 10)
            latents = torch.zeros(size * KIB // 4, dtype=torch.uint8)
            arrive(1, 1)
            if self._fails is not None and size > self._sizes[0]:
                raise self._fails
            torch.zeros(size * KIB - latents.nbytes, dtype=torch.uint8)
            return Made(media_type="x", data=b"")

        return Job(work=work, seed=0, size=size)


def measured(model: _Model, device: PlainDevice | None = None, reports: Reports | None = None) -> MemoryCurve:
    device_: Any = device or PlainDevice()
    return measure_memory(model, device_, reports or Reports())


def test_every_trial_is_measured_where_there_is_time() -> None:
    model, reports = _Model(1, 2, 4, 8), Reports()
    curve = measured(model, reports=reports)
    assert model.ran == [1, 2, 4, 8]
    assert [curve.needed_bytes([size]) for size in model.ran] == [1 * KIB, 2 * KIB, 4 * KIB, 8 * KIB]
    assert curve.needed_bytes([8, 8]) == 10 * KIB, "one computes, the other holds its latents"
    assert {progress.stage for progress in reports.seen} == {"measuring memory"}
    assert [progress.done for progress in reports.seen] == [0, 1, 2, 3, 4]


def test_what_would_take_too_long_is_told_from_the_growth_of_the_last_two() -> None:
    clock = VirtualClock()
    device = PlainDevice()
    device.desk.clock = clock
    model = _Model(1, 2, 4, 8, 100, clock=clock)
    curve = measured(model, device)
    assert model.ran == [1, 2, 4, 8], "0.1 + 0.2 + 0.4 + 0.8 s, and then 10 s"
    assert clock.now_s() == CPU_BUDGET_S
    assert curve.needed_bytes([100]) == 100 * KIB


def test_two_sizes_are_measured_however_long_they_take() -> None:
    device = PlainDevice()
    device.desk.clock = clock = VirtualClock()
    model = _Model(50, 100, 200, clock=clock)
    measured(model, device)
    assert model.ran == [50, 100]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_size_that_does_not_fit_ends_the_trials_and_not_the_load(error: Exception) -> None:
    model = _Model(1, 2, 4, fails=error)
    assert measured(model).needed_bytes([4]) == 4 * KIB
    assert model.ran == [1, 2]


@pytest.mark.parametrize("error", [ValueError("no scheduler"), InvalidRequestError("no such size")])
def test_a_model_that_cannot_make_an_image_is_refused_with_its_reason(error: Exception) -> None:
    with pytest.raises(LoadError, match=rf"fails on a trial of size 2: {type(error).__name__}: no s"):
        measured(_Model(1, 2, fails=error))


def test_an_image_withheld_by_a_safety_checker_was_made() -> None:
    withheld = InvalidRequestError("withheld", code="content_policy_violation")
    model = _Model(1, 2, fails=withheld)
    measured(model)
    assert model.ran == [1, 2]


def test_trials_leave_the_random_streams_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    measured(_Model(1, 2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_sd(tmp_path_factory.mktemp("sd"))


def peak_of_image(folder: Path, **settings: Any) -> int:
    entry = ModelSettings(kind=Kind.IMAGE, source=str(folder), **settings)
    return load_image("p", entry, SchedulerSettings(), PlainDevice(), Reports()).footprint.peak_bytes  # type: ignore[arg-type]


def test_larger_images_take_more_and_the_same_take_the_same(sd: Path) -> None:
    small, large = peak_of_image(sd, max_size_px=64), peak_of_image(sd, max_size_px=128)
    # The last decoder layer alone has 8 channels of floats at the image's size, and a copy of it.
    assert small > 64 * 64 * 8 * 4 * 2
    assert 3 * small < large < 5 * small
    assert peak_of_image(sd, max_size_px=64) == small


def test_more_prompts_at_once_add_what_each_holds_at_its_gate(sd: Path) -> None:
    one, two, four = (peak_of_image(sd, max_size_px=64, max_concurrent=count) for count in (1, 2, 4))
    held = two - one
    latents = 4 * (64 // 2) ** 2 * 4
    assert latents <= held < one
    assert four - one == 3 * held


def test_a_peak_beyond_the_gpu_is_bounded_by_what_it_has(sd: Path) -> None:
    entry = ModelSettings(kind=Kind.IMAGE, source=str(sd), max_size_px=128)
    device: Any = PlainDevice(capacity_bytes=2 << 20)
    engine = load_image("p", entry, SchedulerSettings(), device, Reports())
    assert engine.footprint.peak_bytes == device.free_bytes()
    small = ImageRequest(text="x", steps=1, width_px=16, height_px=16)
    assert run_all(engine, {"p": small})["p"].data, "small ones are made all the same"


@pytest.mark.parametrize("make", [make_tiny_musicgen, make_tiny_stable_audio])
def test_sounds_are_measured_through_their_codec(make: Any, tmp_path: Path) -> None:
    entry = ModelSettings(kind=Kind.AUDIO, source=str(make(tmp_path)), max_duration_s=0.5)
    engine = load_audio("s", entry, SchedulerSettings(), PlainDevice(), Reports())  # type: ignore[arg-type]
    rate_hz = 16_000 if make is make_tiny_musicgen else 8_000
    assert engine.footprint.peak_bytes > 0.5 * rate_hz * 4 * 2
