"""`aquahost simulate`: what it refuses, what it shows, and that the same seed gives the same bytes."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from aquahost.cli.simulate import simulate as command
from aquahost.cli.simulate_bar import simulation_progress
from aquahost.units import format_bytes
from aquahost_tui.feeds.recording import read_recording
from cli_harness import run_cli
from simulated_host import YAML, written

NODE = ("--gpus", "4xA100-40GB")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AQUAHOST_PROFILE_DIR", str(tmp_path / "profiles"))
    return written(tmp_path)


def simulate(models: Path, *words: str, node: tuple[str, ...] = NODE) -> Result:
    return run_cli("simulate", str(models), *node, *words)


def said(result: Result) -> str:
    return " ".join(result.stderr.replace("│", " ").split())


def lines(path: Path, *prompts: dict[str, Any]) -> str:
    path.write_text("".join(f"{json.dumps(prompt)}\n" for prompt in prompts))
    return str(path)


# -- what is shown ---------------------------------------------------------------------------------------------


def test_tables_show_models_gpus_and_a_comparison(models: Path) -> None:
    result = simulate(models, "--duration", "5s", "--policies", "fair,fcfs", "--tiers", "peer,recompute")
    assert result.exit_code == 0
    text = result.stdout
    assert [line for line in text.splitlines() if " × " in line] == [
        f"{policy} × {tier}" for policy in ("fair", "fcfs") for tier in ("peer", "recompute")
    ]
    assert text.count("images/s") == text.count("\nchat ") == text.count("\npaint ") == 4
    assert text.count("\n  3 ") == 4
    assert text.count("POLICY") == 1
    assert "4xA100-40GB; traffic of seed 1" in text
    assert "simulated" in result.stderr


def test_data_hold_every_row_and_what_it_is_of(models: Path) -> None:
    result = simulate(models, "--duration", "5s", "-o", "json")
    data = json.loads(result.stdout)
    assert data["node"]["gpu_bytes"] == [40 * 10**9] * 4
    assert (data["trace"]["name"], data["trace"]["seed"]) == ("traffic", 1)
    assert [(one["model"], one["gpus"]) for one in data["placement"]] == [("chat", [0]), ("paint", [1])]
    (row,) = data["rows"]
    assert (row["policy"], row["tier"], row["failed"]) == ("fair", "peer", 0)
    assert row["prompts"] == data["trace"]["prompts"] == sum(one["prompts"] for one in row["models"])
    chat, paint = row["models"]
    assert chat["output_tokens"] == row["output_tokens"] > 0
    assert row["input_tokens"] == chat["input_tokens"]
    assert chat["steps_per_s"] == chat["output_tokens_per_s"]
    assert paint["steps_per_s"] == pytest.approx(10 * paint["requests_per_s"])
    assert {"ttft_p50_s", "ttft_p99_s", "itl_p99_s", "completion_mean_s", "paged_bytes", "busy"} <= chat.keys()
    assert [gpu["models"] for gpu in row["gpus"]] == [["chat"], ["paint"], [], []]
    for gpu in row["gpus"]:
        parts = sum(gpu[f"{use}_bytes"] for use in ("weights", "kv", "work", "lent", "free"))
        assert parts == pytest.approx(gpu["total_bytes"])
    assert row["gpus"][0]["utilisation"] == pytest.approx(chat["busy"])


def test_the_same_seed_gives_the_same_bytes_in_any_process(models: Path) -> None:
    words = [
        "simulate",
        str(models),
        *NODE,
        "--duration",
        "5s",
        "--rate-times",
        "3",
        "--tiers",
        "peer,host",
        "-o",
        "json",
    ]
    found = [
        subprocess.run(
            [sys.executable, "-m", "aquahost", *words],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]
    assert simulate(models, *words[4:], "--seed", "2").stdout.encode() != found[0]


def test_where_profiles_are_stored_nothing_heavy_is_loaded(models: Path) -> None:
    words = ["aquahost", "simulate", str(models), *NODE, "--duration", "1s"]
    probe = f"""
import sys
from aquahost.cli.main import main
sys.argv = {words!r}
try:
    main()
except SystemExit:
    print(sorted(sys.modules.keys() & {{"torch", "transformers", "diffusers", "textual", "matplotlib"}}))
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert "4xA100-40GB; traffic" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_rates_and_durations_make_more_or_less_of_a_trace(models: Path) -> None:
    def prompts(*words: str) -> int:
        return int(json.loads(simulate(models, *words, "-o", "json").stdout)["trace"]["prompts"])

    assert (
        prompts("--duration", "10s") < prompts("--duration", "20s") < prompts("--duration", "20s", "--rate-times", "4")
    )
    assert prompts("--trace", "fits", "--model", "chat") == 8
    assert prompts("--trace", "poisson", "--model", "chat", "--duration", "3s", "--rate-times", "0.5") < 24


def test_without_gpus_the_emulated_node_is_taken_with_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQUAHOST_PROFILE_DIR", str(tmp_path / "profiles"))
    models = written(tmp_path, gpu="emulated")
    result = simulate(models, "--duration", "3s", "-o", "json", node=())
    data = json.loads(result.stdout)
    assert data["node"]["name"] == "2 emulated GPUs"
    assert data["node"]["chunk_bytes"] == 2 << 20
    assert all(one["profile"]["measured"] for one in data["placement"])


def test_models_own_policies_are_kept_unless_others_are_asked_for(models: Path) -> None:
    models.write_text(YAML.replace("kv_bytes: 1GB", "policy: fcfs\n    kv_bytes: 1GB", 1))
    own = json.loads(simulate(models, "--duration", "3s", "-o", "json").stdout)
    asked = json.loads(simulate(models, "--duration", "3s", "--policies", "fair", "-o", "json").stdout)
    assert [row["policy"] for row in (*own["rows"], *asked["rows"])] == ["as configured", "fair"]


def test_traces_from_files_may_ask_for_images(models: Path, tmp_path: Path) -> None:
    trace = lines(
        tmp_path / "t.jsonl",
        {"arrival_s": 1, "model": "chat", "input_tokens": 10, "output_tokens": 5},
        {"arrival_s": 1.5, "model": "paint"},
        {"arrival_s": 2, "model": "paint", "size": 1048576, "steps": 30},
    )
    (row,) = json.loads(simulate(models, "--trace", trace, "-o", "json").stdout)["rows"]
    chat, paint = row["models"]
    assert (chat["prompts"], chat["output_tokens"], paint["prompts"], paint["failed"]) == (1, 5, 2, 0)
    assert paint["steps_per_s"] * paint["took_s"] == pytest.approx(40)
    (alone,) = json.loads(
        simulate(
            models, "--trace", lines(tmp_path / "u.jsonl", {"arrival_s": 0}), "--model", "paint", "-o", "json"
        ).stdout
    )["rows"]
    assert [one["prompts"] for one in alone["models"]] == [0, 1]


def test_the_lines_in_the_help_are_a_trace(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(re.findall(r"\{.*?\}", command.__doc__ or "")))
    (row,) = json.loads(simulate(models, "--trace", str(path), "-o", "json").stdout)["rows"]
    assert [(one["model"], one["prompts"], one["failed"]) for one in row["models"]] == [("chat", 1, 0), ("paint", 1, 0)]


def test_an_entry_s_context_bounds_its_prompts(models: Path, tmp_path: Path) -> None:
    models = written(tmp_path, YAML.replace("kv_bytes: 1GB", "max_context: 100\n    kv_bytes: 1GB", 1))
    asked = {"arrival_s": 0, "model": "chat", "input_tokens": 60, "output_tokens": 41}
    result = simulate(models, "--trace", lines(tmp_path / "t.jsonl", asked, asked | {"output_tokens": 40}))
    assert "1 of 2 prompts failed: 1 × 400: 101 tokens; at most 100 fit" in result.stderr
    written(tmp_path, YAML.replace("kv_bytes: 1GB", "max_context: 9000\n    kv_bytes: 1GB", 1))
    long = simulate(models)
    assert long.exit_code == 2
    assert "models.chat: max_context is 9000; the model was made for 8192 tokens at most" in long.stderr


def test_the_making_of_a_long_trace_is_told(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aquahost.cli.simulate_setup._MANY_PROMPTS", 40)
    result = simulate(models, "--duration", "10s")
    assert "making a trace of about 45 prompts …" in result.stderr
    assert re.search(r"^  \d+ prompts to chat\n  \d+ prompts? to paint$", result.stderr, re.MULTILINE)


def test_where_stderr_is_no_terminal_a_line_tells_now_and_then_how_far_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times_s = iter([0.0, 4.0, 11.0, 12.0, 25.0])
    with simulation_progress(1200, 1, lambda: next(times_s)) as watcher:
        watcher.begin("fair × peer")
        for at in range(1, 5):
            watcher.come_to(at * 600.0, at * 300)
    assert capsys.readouterr().err.splitlines() == [
        "fair × peer …",
        "fair × peer: 600 of 1,200 prompts, 20m 00s of virtual time, 109 × as fast",
        "fair × peer: 1,200 of 1,200 prompts, 40m 00s of virtual time, 96 × as fast",
    ]


def test_prompts_that_fail_are_counted_and_a_run_of_nothing_else_ends_with_1(models: Path, tmp_path: Path) -> None:
    long = {"arrival_s": 0, "model": "chat", "input_tokens": 9000, "output_tokens": 5}
    short = long | {"input_tokens": 10}
    some = simulate(models, "--trace", lines(tmp_path / "t.jsonl", long, short))
    assert some.exit_code == 0
    assert "fair × peer: 1 of 2 prompts failed: 1 × 400: 9005 tokens; at most 8192 fit" in some.stderr
    assert simulate(models, "--trace", lines(tmp_path / "t.jsonl", long)).exit_code == 1


# -- what is kept ----------------------------------------------------------------------------------------------


def test_a_recording_is_replayed_as_simulated(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.gz"
    result = simulate(models, "--duration", "5s", "--rate-times", "4", "--record", str(path))
    assert result.exit_code == 0
    assert f"recorded {path}: " in result.stderr
    assert f" snapshots, {format_bytes(path.stat().st_size)}; watch it" in result.stderr
    read = list(read_recording(path))
    times = [line.t for line in read if line.snapshot is not None]
    assert times[:4] == [0, 0.5, 1, 1.5]
    numbers = [line.event.seq for line in read if line.event is not None]
    assert numbers == list(range(1, len(numbers) + 1))
    again = simulate(models, "--duration", "5s", "--rate-times", "4", "--record", str(path), "--overwrite")
    assert again.exit_code == 0
    assert list(read_recording(path)) == read
    picture = run_cli("top", "--replay", str(path), "--once", "--size", "140x40")
    assert picture.exit_code == 0
    assert "SIMULATED" in picture.stdout
    assert "A100-40GB, simulated" in picture.stdout


def test_long_recordings_are_thinned(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, most = tmp_path / "run.jsonl", 300_000
    monkeypatch.setattr("aquahost.cli.simulate_record.MOST_BYTES", most)
    result = simulate(models, "--duration", "60s", "--record", str(path))
    assert result.exit_code == 0
    assert 0.5 * most < path.stat().st_size < 1.1 * most
    times = [line.t for line in read_recording(path) if line.snapshot is not None]
    assert len(times) < 60
    assert max(b - a for a, b in itertools.pairwise(times)) < 15


def test_pictures_are_drawn(models: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "run"
    assert simulate(models, "--duration", "3s", "--png", str(prefix)).exit_code == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["run-leases.png", "run-memory.png", "run-ttft.png"]
    assert simulate(models, "--duration", "3s", "--png", str(prefix), "--tiers", "peer,host").exit_code == 0
    assert (tmp_path / "run-memory-fair-host.png").stat().st_size > 10_000


# -- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpus", "8xH10"], "no data sheet of a GPU 'H10'; did you mean H100?"),
        (["--gpus", "many"], "no data sheet of a GPU 'many'"),
        (["--gpus", "H999"], "no data sheet of a GPU 'H999'; there are A100-40GB, A100, H100"),
        (["--gpus", "-1xH100"], "a node has 1 to 1024 GPUs"),
        (["--gpus", "99999999999xH100"], "a node has 1 to 1024 GPUs"),
        (["--duration", "0"], "no prompt falls into 0 ms; give a longer --duration"),
        (["--trace", "burst", "--model", "chat", "--duration", "0"], "no prompt falls into 0 ms"),
        (["--trace", "surge"], "'surge' is neither one of traffic, burst"),
        (["--trace", "burst"], "--trace burst asks one language model; say which with --model: chat"),
        (["--trace", "burst", "--model", "cat"], "no model 'cat'; did you mean chat?"),
        (["--trace", "burst", "--model", "paint"], "has language prompts, and paint is of kind image"),
        (["--model", "chat"], "is for traces that name no models"),
        (["--policies", "fairest"], "'fairest' is not one of fair, fcfs, priority, aqua"),
        (["--tiers", "disk"], "'disk' is not one of peer, host, recompute"),
        (["--duration", "soon"], "--duration"),
        (["--rate-times", "0"], "--rate-times"),
        (["--overwrite"], "belongs to --record"),
        (["--record", "x.jsonl", "--tiers", "peer,host"], "takes one policy and one tier"),
        (["--png", "/nonexistent/here/x"], "there is no folder"),
        (["--png", "/tmp"], "/tmp is a folder; add a name, like /tmp/run"),
        (["--png", "new/"], "new/ is a folder; add a name, like new/run"),
        (["--record", "/nonexistent/here/x.jsonl"], "there is no folder"),
        (["--trace", "/nonexistent.jsonl"], "/nonexistent.jsonl: No such file"),
    ],
)
def test_wrong_usage_ends_with_2(models: Path, words: list[str], message: str) -> None:
    result = simulate(models, *words)
    assert result.exit_code == 2
    assert message in said(result)


def test_a_folder_that_cannot_be_written_to_is_refused_first(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    for flag in ("--png", "--record"):
        result = simulate(models, flag, str(models.parent / "x"))
        assert result.exit_code == 2
        assert "nothing can be written to the folder" in said(result)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"model": "chatt", "input_tokens": 1, "output_tokens": 1}, "there is no model 'chatt'; did you mean chat?"),
        ({"input_tokens": 1, "output_tokens": 1}, "names no model; there are chat, paint"),
        ({"model": "chat", "input_tokens": 1, "output_tokens": 1, "steps": 3}, "steps is for prompts to image"),
        ({"model": "paint", "size": 4e6}, "size 4,000,000 is above paint's largest, 1,048,576 pixels"),
        ({"model": "paint", "steps": 300}, "300 steps are more than paint's max_steps, 200"),
        ({"model": "paint", "size": 0}, "size is 0; it must be a number above 0"),
    ],
)
def test_a_bad_line_is_named(models: Path, tmp_path: Path, prompt: dict[str, Any], message: str) -> None:
    good = {"arrival_s": 0, "model": "paint"}
    trace = lines(tmp_path / "t.jsonl", good, {"arrival_s": 1, **prompt})
    result = simulate(models, "--trace", trace)
    assert result.exit_code == 2
    assert f"{trace}:2: " in result.stderr
    assert message in result.stderr


def test_models_without_config_without_room_or_without_measurement_are_refused(models: Path, tmp_path: Path) -> None:
    measured = simulate(models, node=())
    assert measured.exit_code == 2
    assert "models.chat: there is no profile of it on this machine; measure it: aquahost profile chat" in said(measured)
    (tmp_path / "chat" / "config.json").unlink()
    bare = simulate(models)
    assert bare.exit_code == 2
    assert "chat: a model without config" in bare.stderr
    written(tmp_path, YAML.replace("kv_bytes: 1GB", "kv_bytes: 80GB", 1))
    large = simulate(models)
    assert large.exit_code == 2
    assert "models.chat: needs 84.1 GiB of a GPU" in large.stderr
    models.write_text("models: {t: {kind: toy}}")
    toys = simulate(models)
    assert toys.exit_code == 2
    assert "no models to simulate" in toys.stderr
    written(tmp_path, YAML.replace("rate_per_s: 4,", "").replace("{rate_per_s: 0.5}", "{}"))
    quiet = simulate(models)
    assert quiet.exit_code == 2
    assert "no model expects any prompts" in quiet.stderr
