"""`aquahost bench burst`: what it refuses before it measures anything, and what it shows afterwards."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from aquahost.bench.burst import Burst, Measured
from aquahost.bench.burst_plot import write_plots
from aquahost.cli.burst_table import about, write_burst
from aquahost.cli.output import Form
from aquahost.traces.built_in import TRACES, make_trace
from aquahost.traces.replies import Reply, row
from cli_harness import run_cli


def test_help_names_every_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 400)
    text = " ".join(run_cli("bench", "burst", "--help").stdout.replace("│", " ").split())
    for name, built in TRACES.items():
        assert f"{name}: {built.about}" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trace", "surge"], "'surge' is neither one of burst"),
        (["--policies", "fcfs,fairest"], "'fairest' is not one of fair, fcfs, priority"),
        (["--policies", ","], "names none of fair"),
        (["--tiers", "disk"], "'disk' is not one of recompute, host, peer"),
        (["--url", "http://127.0.0.1:1/v1"], "the name of the server's model"),
        (["--url", "ftp://x/v1", "--model", "m"], "'ftp://x/v1' is no http"),
        (["--url", "http://x:port/v1", "--model", "m"], "--url"),
        (["--model", "m"], "is for a server named with --url"),
        (["--token-ids"], "is for a server named with --url"),
        (["--prompts", "0"], "--prompts"),
        (["--png", "/nonexistent/here/x"], "there is no folder"),
        (["--trace", "/nonexistent.jsonl"], "/nonexistent.jsonl: No such file"),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_measured(words: list[str], said: str) -> None:
    result = run_cli("bench", "burst", *words)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_a_bad_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"arrival_s": 0, "input_tokens": 1, "output_tokens": 1}\nnonsense\n')
    result = run_cli("bench", "burst", "--trace", str(path))
    assert result.exit_code == 2
    assert f"{path}:2: " in result.stderr


def test_a_prompt_too_long_for_the_measured_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"arrival_s": 0, "input_tokens": 2000, "output_tokens": 49}\n')
    result = run_cli("bench", "burst", "--trace", str(path))
    assert result.exit_code == 2
    assert "takes 2049 tokens in and out, but the measured model has room for 2048" in result.stderr


def test_pictures_without_matplotlib_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    result = run_cli("bench", "burst", "--png", "x")
    assert result.exit_code == 1
    assert "pip install 'aquahost[bench]'" in result.stderr


def test_a_dead_server_fails_every_prompt_and_the_command() -> None:
    words = ["--url", "http://127.0.0.1:9/v1", "--model", "m", "--prompts", "3", "-o", "json"]
    result = run_cli("bench", "burst", "--trace", "fits", *words)
    assert result.exit_code == 1
    assert "3 of 3 prompts failed" in result.stderr
    told = json.loads(result.stdout)
    assert (told["rows"][0]["failed"], told["rows"][0]["ttft_p50_s"], told["prefill_floor_s"]) == (3, None, None)


def a_burst() -> tuple[Burst, Any]:
    trace = make_trace("tenants", seed=1, prompts=22)
    measured = []
    for policy, tier in (("fcfs", "recompute"), ("fair", "peer")):
        replies = [
            Reply(
                prompt=prompt,
                chunk_s=[prompt.arrival_s + 0.1 * number for number in range(1, 5)],
                done_s=prompt.arrival_s + 0.5,
                output_tokens=prompt.output_tokens,
            )
            for prompt in trace.prompts
        ]
        measured.append(Measured(row(policy, tier, replies, 4 << 20), replies))
    return Burst(measured, prefill_floor_s=0.05), trace


def test_json_has_the_promised_keys(capsys: pytest.CaptureFixture[str]) -> None:
    burst, trace = a_burst()
    write_burst(burst, trace, Form.JSON)
    told = json.loads(capsys.readouterr().out)
    assert {"machine", "trace", "prefill_floor_s", "rows"} <= set(told)
    promised = (
        "policy tier ttft_p50_s ttft_p95_s ttft_p99_s itl_p50_s itl_p99_s longest_gap_s completion_mean_s "
        "completion_p99_s output_tokens_per_s paged_bytes"
    )
    for line in told["rows"]:
        assert set(promised.split()) <= set(line)
        assert set(line["tenants"]) == {"heavy", "light"}


def test_the_table_has_a_line_for_each_row_and_tenant(capsys: pytest.CaptureFixture[str]) -> None:
    burst, trace = a_burst()
    write_burst(burst, trace, Form.TABLE)
    text = capsys.readouterr().out
    for begin in ("fcfs    recompute    100 ms", "fair    peer         100 ms", "fair    peer       light"):
        assert begin in text
    assert "4.0 MiB" in text
    assert "prefilling all prompts back to back: 50 ms" in text


def test_pictures_are_drawn(tmp_path: Path) -> None:
    burst, trace = a_burst()
    paths = write_plots(burst, about(trace), str(tmp_path / "b"))
    assert [path.name for path in paths] == ["b-ttft.png", "b-tokens.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
