"""Profiles on disk: what is saved is found again, and nothing that is found does harm."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.errors import ConfigError, StartError
from aquahost.profiler import store
from aquahost.profiler.keys import analytic_key, measured_key
from aquahost.profiler.lookup import measured_profiles, profiles_of
from aquahost.profiles.data_sheets import SHEETS
from aquahost.profiles.profile import SCHEMA_VERSION, Profile
from made_profiles import profile


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AQUAHOST_PROFILE_DIR", str(tmp_path / "profiles"))
    return tmp_path / "profiles"


@pytest.fixture
def model(tmp_path: Path) -> ModelSettings:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    return ModelSettings(kind=Kind.LLM, source=str(tmp_path / "model"))


def measured(model: ModelSettings, scheduler: SchedulerSettings | None = None, **changes: object) -> Profile:
    wanted = scheduler or SchedulerSettings()
    key = measured_key(Path(model.source), model, step_tokens=wanted.step_tokens, max_batch=wanted.max_batch)
    return profile(model.source, measured=True, key=key, **changes)


def test_what_is_saved_is_loaded_and_listed(folder: Path) -> None:
    one, other = profile(), profile(gpu="A100", measured=True)
    path = store.save(one)
    store.save(other)
    assert store.load("org/name", "H100", "float16", 1) == one
    assert store.load("org/name", "H100", "float16", 1, key="another") is None
    assert store.load("org/name", "H100", "float16", 2) is None
    assert store.all_profiles() == [other, one]
    assert path.parent == folder
    assert [file.suffix for file in folder.iterdir()] == [".json", ".json"]


def test_a_measured_profile_goes_before_one_worked_out_and_the_newest_before_others() -> None:
    old = profile(measured=True, at="2026-01-01T00:00:00Z", key="a")
    new = profile(measured=True, at="2026-01-02T00:00:00Z", key="b")
    for one in (new, old, profile(at="2026-01-03T00:00:00Z")):
        store.save(one)
    assert store.load("org/name", "H100", "float16", 1) == new


def test_a_profile_of_the_same_key_takes_the_place_of_the_older_one() -> None:
    store.save(profile(at="1"))
    store.save(profile(at="2"))
    assert [one.at for one in store.all_profiles()] == ["2"]


@pytest.mark.parametrize("text", [b"", b"{", b'{"schema_version": 1}', b"[]", b"\xff\xfe", b'{"schema_version": "x"}'])
def test_damaged_files_are_left_out_with_a_warning(folder: Path, text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    store.save(profile())
    (folder / "damaged.json").write_bytes(text)
    with caplog.at_level(logging.WARNING):
        assert store.all_profiles() == [profile()]
    assert "damaged.json" in caplog.text


def test_another_version_is_left_out_with_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir()
    later = msgspec.to_builtins(profile()) | {"schema_version": SCHEMA_VERSION + 1}
    (folder / "later.json").write_bytes(msgspec.json.encode(later))
    with caplog.at_level(logging.WARNING):
        assert store.all_profiles() == []
    assert f"version {SCHEMA_VERSION + 1}" in caplog.text


def test_a_folder_that_cannot_be_written_is_told(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(StartError, match="profiles"):
        store.save(profile())
    assert store.all_profiles() == []


def test_keys_change_with_what_figures_depend_on(model: ModelSettings) -> None:
    folder, sheet, terms = Path(model.source), SHEETS["H100"], {"step_tokens": 512, "max_batch": 64}
    changes = (
        {"dtype": "float16"}, {"tensor_parallel": 2}, {"block_tokens": 32}, {"max_context": 64}, {"kind": Kind.AUDIO}
    )  # fmt: skip
    keys = [analytic_key(folder, model.model_copy(update=change), sheet, **terms) for change in ({}, *changes)]
    keys.append(analytic_key(folder, model, SHEETS["A100"], **terms))
    keys.append(analytic_key(folder, model, sheet, step_tokens=256, max_batch=64))
    keys.append(analytic_key(folder, model, sheet, step_tokens=512, max_batch=32))
    keys.append(measured_key(folder, model, **terms))
    (folder / "config.json").write_text('{"model_type": "mistral"}')
    keys.append(analytic_key(folder, model, sheet, **terms))
    assert len(set(keys)) == len(keys)


def test_keys_stay_where_figures_do(model: ModelSettings) -> None:
    folder, terms = Path(model.source), {"step_tokens": 512, "max_batch": 64}
    before = measured_key(folder, model, **terms)
    (folder / "tokenizer.json").write_text("{}")
    other = model.model_copy(update={"gpu": 3, "max_queue": 1, "pin": True, "kv_bytes": 5})
    assert measured_key(folder, other, **terms) == before


def test_measured_profiles_are_those_of_this_gpu_and_of_the_entry_as_it_is(model: ModelSettings) -> None:
    wanted = measured(model, gpu="emulated", at="2")
    for one in (wanted, measured(model, gpu="H100"), profile(model.source, gpu="emulated"), profile(gpu="emulated")):
        store.save(one)
    assert measured_profiles({"chat": model, "gone": model.model_copy(update={"source": "/gone"})}, "emulated") == {
        "chat": wanted
    }
    assert measured_profiles({"chat": model}, "emulated", SchedulerSettings(max_batch=3)) == {}
    (Path(model.source) / "config.json").write_text("{}")
    assert measured_profiles({"chat": model}, "emulated") == {}


def test_planner_and_simulator_get_the_measured_profile_and_none_of_toys(model: ModelSettings) -> None:
    wanted = measured(model, gpu="H100")
    store.save(wanted)
    models = {"chat": model, "lorem": ModelSettings(kind=Kind.TOY)}
    told: list[str] = []
    found = profiles_of(models, SHEETS["H100"], step_tokens=512, max_batch=64, progress=told.append)
    assert found == {"chat": wanted}
    assert told == []


@pytest.mark.parametrize("source", ["/nowhere/at/all", "demo:none"])
def test_a_model_without_config_is_named(source: str) -> None:
    models = {"chat": ModelSettings(kind=Kind.LLM, source=source)}
    with pytest.raises(ConfigError, match=r"^chat: "):
        profiles_of(models, SHEETS["H100"], step_tokens=512, max_batch=64, progress=lambda _: None)


def test_an_unreadable_config_leaves_its_profiles_out_and_is_one_line_where_they_are_asked_for(
    model: ModelSettings, caplog: pytest.LogCaptureFixture
) -> None:
    store.save(measured(model, gpu="emulated"))
    assert list(measured_profiles({"chat": model}, "emulated")) == ["chat"]
    (Path(model.source) / "part" / "config.json").mkdir(parents=True)  # reading a folder fails for root too
    assert measured_profiles({"chat": model}, "emulated") == {}
    assert "the profiles of chat are left out: its config cannot be read" in caplog.text
    with pytest.raises(ConfigError, match=r"^chat: its config cannot be read: .*Is a directory"):
        profiles_of({"chat": model}, SHEETS["H100"], step_tokens=512, max_batch=64, progress=lambda said: None)
