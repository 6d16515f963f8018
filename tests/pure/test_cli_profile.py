"""`aquahost profile`: what it is asked, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aquahost.cli.profile_bar import profile_progress
from aquahost.cli.profile_table import show_profile
from aquahost.profiler import store
from aquahost.profiler.wire import Note
from aquahost.profiles.profile import GatedCosts, Profile, SizedCost
from cli_harness import run_cli
from made_profiles import profile


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUAHOST_PROFILE_DIR", str(tmp_path / "profiles"))


@pytest.fixture
def models(tmp_path: Path) -> str:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text("{}")
    path = tmp_path / "models.yaml"
    path.write_text(
        "models:\n  lorem: {kind: toy}\n  chat: {kind: llm, source: ./empty}\n"
        "  bare: {kind: llm, source: ./bare}\n  pair: {kind: llm, source: ./bare, tensor_parallel: 2}\n"
        "  paint: {kind: image, source: ./bare}\n"
    )
    return str(path)


def test_the_list() -> None:
    assert "no profiles" in run_cli("profile", "--list").stdout
    store.save(profile())
    assert "org/name  H100  float16" in run_cli("profile", "--list").stdout
    assert json.loads(run_cli("profile", "--list", "-o", "json").stdout)[0]["source"] == "org/name"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "name a model"),
        (["chat", "--list"], "takes no MODEL"),
        (["nobody"], "models.yaml has no model nobody; it has lorem, chat"),
        (["chat", "--kind", "llm"], "says its kind"),
        (["chat"], "chat: a model without config"),
        (["chat", "--gpu", "H100"], "chat: a model without config"),
        (["bare"], "no weights to measure with; --gpu H100"),
        (["pair"], "several GPUs"),
        (["lorem"], "a toy"),
        (["lorem", "--gpu", "H100"], "a toy"),
        (["bare", "--gpu", "H10"], "did you mean H100"),
        (["paint", "--gpu", "2xH100"], "only language models"),
        (["./nowhere", "--gpu", "H100"], "a model without config"),
    ],
)
def test_what_it_refuses(words: list[str], why: str, models: str) -> None:
    done = run_cli("profile", *words, *([] if "--list" in words else ["--models", models]))
    assert done.exit_code == 2
    assert why in " ".join(done.output.replace("│", " ").split())


def test_an_unknown_entry_is_told_with_the_file_and_a_source_once(
    models: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"{models} has no model nobody" in run_cli("profile", "nobody", "--models", models).stderr
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    for words in ((), ("--gpu", "H100")):
        told = run_cli("profile", f"{tmp_path}/bare/x", *words, "--kind", "llm").stderr
        assert [line for line in told.splitlines() if not line.startswith("measuring ")] == [
            f"{tmp_path}/bare/x: a model without config: it is no folder; put the model's config there (no weights are "
            "needed), or give a hub id (org/name)"
        ]


def test_where_stderr_is_no_terminal_each_stage_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    times_s = iter([0.0, 1.0, 2.0, 3.0, 4.0, 15.0, 16.0])
    with profile_progress("chat", lambda: next(times_s)) as show:
        show(Note("loading weights", 10, 900, in_bytes=True))
        show(Note("loading weights", 900, 900, in_bytes=True))
        show(Note("decoding, batch 1, 16 tokens each", 0, 76))
        show(Note("decoding, batch 2, 16 tokens each", 1, 76))
        show(Note("prefill of 16 tokens", 2, 76))
        show(Note("prefill of 32 tokens", 3, 76))
        show(Note("paging", 1, 1))
    assert capsys.readouterr().err.splitlines() == [
        "measuring chat …",
        "  loading weights",
        "  decoding, batch 1, 16 tokens each (1 of 76)",
        "  prefill of 16 tokens (3 of 76)",
        "  prefill of 32 tokens (4 of 76)",
        "  paging",
    ]


def test_sizes_are_shown_with_what_a_whole_request_takes(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = tuple(
        SizedCost(size=size, peak_bytes=2 << 20, held_bytes=1 << 20, begin_s=0.1, step_s=0.05, end_s=0.2)
        for size in (4096.0, 65536.0)
    )
    costs = GatedCosts(weights_bytes=5 << 20, sizes=sizes, default_steps=10, default_size=4096.0)
    made = Profile(source="s", key="k", gpu="emulated", dtype="float32", measured=True, costs=costs)
    show_profile("paint", made)
    shown = capsys.readouterr().out
    assert "65,536" in shown
    assert "800 ms" in shown
