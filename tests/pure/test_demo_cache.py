"""Where demo models are kept, and how they get there; the models themselves are faked."""

from __future__ import annotations

from pathlib import Path

import pytest

from aquahost.demo import make
from aquahost.errors import LoadError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AQUAHOST_CACHE_DIR", str(tmp_path))
    return tmp_path / "demo-models" / "v1"


def _write(name: str, folder: Path) -> None:
    (folder / "config.json").write_text(name)


def test_a_model_is_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(make, "make_demo_model", lambda name, folder: (made.append(name), _write(name, folder)))
    assert make.demo_model_path("paint") == make.demo_model_path("paint") == cache / "paint"
    assert (cache / "paint" / "config.json").read_text() == "paint"
    assert made == ["paint"]


def test_a_model_half_made_is_never_seen(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, folder: Path) -> None:
        _write(name, folder)
        raise RuntimeError("killed")

    monkeypatch.setattr(make, "make_demo_model", fail)
    with pytest.raises(RuntimeError):
        make.demo_model_path("sing")
    assert list(cache.iterdir()) == []


def test_whoever_finishes_second_takes_the_first_ones_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(name: str, folder: Path) -> None:
        _write("mine", folder)
        (cache / name).mkdir()
        _write("theirs", cache / name)

    monkeypatch.setattr(make, "make_demo_model", overtaken)
    assert (make.demo_model_path("chat") / "config.json").read_text() == "theirs"
    assert [path.name for path in cache.iterdir()] == ["chat"]


def test_an_unknown_name_is_answered_with_those_there_are(cache: Path) -> None:
    with pytest.raises(LoadError, match="chat, paint, sing"):
        make.demo_model_path("dance")


def test_an_unwritable_cache_is_a_load_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AQUAHOST_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(LoadError, match="can't be kept"):
        make.demo_model_path("chat")
