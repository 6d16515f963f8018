"""Where the planner would have models at the daemon's start: from stored, measured profiles alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from aquahost.config.settings import Settings
from aquahost.daemon.assembly import hosted_models
from aquahost.daemon.gpu_watch import GpuWatch
from aquahost.errors import ConfigError
from aquahost.placement.choose_gpu import choose_gpu, has_planned_room
from aquahost.placement.preference import Preference
from aquahost.profiler import store
from aquahost.profiler.keys import measured_key
from aquahost.profiles.profile import LanguageCosts, Profile
from aquahost.profiles.step_costs import FittedSteps
from aquahost.start_plan import planned_gpus

GIB = 1 << 30
CONFIGS = Path(__file__).parents[2] / "examples" / "configs"
NAMES = {"llama": "Llama-3.1-8B", "mistral": "Mistral-7B", "qwen": "Qwen2.5-14B"}


@dataclass(frozen=True)
class Gpu:
    index: int
    free_bytes: int = 40 * GIB
    total_bytes: int = 40 * GIB
    uuid: str = ""
    name: str = "emulated"
    lost: str | None = None


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUAHOST_PROFILE_DIR", str(tmp_path))


def host(**gpus: int | str) -> Settings:
    """Models of these names, with what `gpu` says of each."""
    models = {
        name: {"kind": "llm", "source": str(CONFIGS / NAMES[name]), "dtype": "bfloat16", "gpu": gpu}
        for name, gpu in gpus.items()
    }
    return Settings.model_validate({"models": models | {"toy": {"kind": "toy"}}})


def measured(settings: Settings, name: str, weights_bytes: int) -> None:
    """Store a profile of the entry."""
    model, scheduler = settings.models[name], settings.scheduler
    step = FittedSteps(
        decode_widths=(1,), decode_s=(0.01,), context_token_s=0.0, prefill_widths=(1,), prefill_s=(0.01,), pair_s=0.0
    )
    costs = LanguageCosts(
        weights_bytes=weights_bytes, kv_token_bytes=1 << 17, peak_bytes=GIB, context_tokens=8192, step=step
    )
    folder = Path(model.source)
    key = measured_key(folder, model, step_tokens=scheduler.step_tokens, max_batch=scheduler.max_batch)
    store.save(
        Profile(source=model.source, key=key, gpu="emulated", dtype="bfloat16", measured=True, costs=costs, at="2026")
    )


def test_all_that_are_loaded_must_have_been_measured() -> None:
    settings = host(llama="auto", mistral="auto")
    measured(settings, "llama", 15 * GIB)
    assert planned_gpus(settings, "emulated", [Gpu(0), Gpu(1)]) == {}
    measured(settings, "mistral", 14 * GIB)
    found = planned_gpus(settings, "emulated", [Gpu(0), Gpu(1)])
    assert {preference.gpu for preference in found.values()} == {0, 1}
    assert found["llama"].floor_bytes > 16 * GIB
    assert [preference.kv_bytes for preference in found.values()] == [None, None]
    assert planned_gpus(settings, "another", [Gpu(0), Gpu(1)]) == {}
    assert planned_gpus(settings, "emulated", [Gpu(0), Gpu(1, lost="gone")]) == {}


def test_models_that_share_a_gpu_are_told_how_much_kv_to_reserve() -> None:
    settings = host(llama="auto", mistral="auto", qwen=0)
    for name, size in (("llama", 10), ("mistral", 9), ("qwen", 27)):
        measured(settings, name, size * GIB)
    found = planned_gpus(settings, "emulated", [Gpu(0), Gpu(1)])
    assert {name: preference.gpu for name, preference in found.items()} == {"llama": 1, "mistral": 1, "qwen": 0}
    kv = [found[name].kv_bytes or 0 for name in ("llama", "mistral")]
    assert min(kv) > 6 * GIB
    assert 10 * GIB + 9 * GIB + 2 * GIB + sum(kv) <= 40 * GIB
    assert found["qwen"].kv_bytes is None


def test_where_nothing_is_free_to_choose_nothing_is_planned() -> None:
    settings = host(llama=1)
    measured(settings, "llama", 15 * GIB)
    assert planned_gpus(settings, "emulated", [Gpu(0), Gpu(1)]) == {}


def test_models_that_do_not_fit_are_refused() -> None:
    settings = host(llama="auto")
    measured(settings, "llama", 50 * GIB)
    with pytest.raises(ConfigError, match="short"):
        planned_gpus(settings, "emulated", [Gpu(0), Gpu(1)])


def test_a_preference_gives_way_to_a_full_gpu_and_to_what_the_entry_says() -> None:
    gpus = [Gpu(0), Gpu(1, free_bytes=10 * GIB)]
    small, large = (Preference(gpu=1, floor_bytes=size * GIB) for size in (10, 11))
    assert choose_gpu("auto", gpus, loading={}, loaded={}, preferred=small) == 1
    assert choose_gpu("auto", gpus, loading={}, loaded={}, preferred=large) == 0
    assert choose_gpu(0, gpus, loading={}, loaded={}, preferred=small) == 0
    assert choose_gpu("auto", gpus[:1], loading={}, loaded={}, preferred=small) == 0


def test_a_preference_counts_what_others_that_load_there_will_take() -> None:
    gpus = [Gpu(0), Gpu(1, free_bytes=30 * GIB)]
    wanted = Preference(gpu=1, floor_bytes=16 * GIB, kv_least_bytes=2 * GIB, kv_bytes=6 * GIB)
    assert choose_gpu("auto", gpus, loading={}, promised={1: 14 * GIB}, loaded={}, preferred=wanted) == 1
    assert choose_gpu("auto", gpus, loading={}, promised={1: 15 * GIB}, loaded={}, preferred=wanted) == 0
    # One of which no plan says what it takes is taken to take as much.
    assert choose_gpu("auto", gpus, loading={1: 1}, loaded={}, preferred=wanted) == 0


def test_planned_kv_is_reserved_only_where_it_fits() -> None:
    wanted = Preference(gpu=1, floor_bytes=16 * GIB, kv_least_bytes=2 * GIB, kv_bytes=6 * GIB)
    assert wanted.planned_bytes == 20 * GIB
    assert has_planned_room(wanted, [Gpu(0), Gpu(1, free_bytes=20 * GIB)])
    assert not has_planned_room(wanted, [Gpu(0), Gpu(1, free_bytes=19 * GIB)])
    assert not has_planned_room(wanted, [Gpu(0), Gpu(1, free_bytes=20 * GIB)], promised={1: 1})
    assert not has_planned_room(wanted, [Gpu(0)])


async def test_a_restart_beside_a_grown_neighbour_drops_the_planned_kv(tmp_path: Path) -> None:
    settings = Settings.model_validate({"models": {"chat": {"kind": "llm", "source": "-"}}})
    models = hosted_models(settings, tmp_path, {})
    chat = models["chat"]
    chat.preference = Preference(gpu=0, floor_bytes=16 * GIB, kv_least_bytes=2 * GIB, kv_bytes=6 * GIB)
    for free, kv_bytes in ((20, 6 * GIB), (17, None), (20, 6 * GIB)):
        watch = GpuWatch(partial(list, [Gpu(0, free_bytes=free * GIB)]))
        assert await watch.assign(chat, models.values(), lent_bytes=lambda gpu: 0, lost=lambda gpu: None) == 0
        assert chat.settings_on(0).kv_bytes == kv_bytes
