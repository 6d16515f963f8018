"""`aquahost bench burst` for real: against a daemon that it starts itself, and against one that is there already."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli_process import CliProcess, cli_process

LINES = [
    {"arrival_s": 0.05 * number, "input_tokens": 8 + number, "output_tokens": 10 + 5 * number, "tenant": tenant}
    for number, tenant in enumerate(("a", "b", "a", "b"))
]
OUTPUT_TOKENS = sum(line["output_tokens"] for line in LINES)  # type: ignore[misc]
INPUT_TOKENS = sum(line["input_tokens"] for line in LINES)  # type: ignore[misc]
KEYS = (
    "policy tier ttft_p50_s ttft_p95_s ttft_p99_s itl_p50_s itl_p99_s longest_gap_s completion_mean_s "
    "completion_p99_s output_tokens_per_s paged_bytes"
)


@pytest.fixture
def cli() -> Iterator[CliProcess]:
    with cli_process() as cli:
        yield cli


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
    return str(path)


def measured(cli: CliProcess, *words: str) -> dict[str, Any]:
    done = cli.run("bench", "burst", *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_daemon_of_its_own(cli: CliProcess, trace: str) -> None:
    told = measured(cli, "--trace", trace, "--policies", "fcfs", "--tiers", "recompute")
    (row,) = told["rows"]
    assert set(KEYS.split()) <= set(row)
    assert (row["policy"], row["tier"], row["paged_bytes"]) == ("fcfs", "recompute", 0)
    assert (row["prompts"], row["failed"]) == (4, 0)
    assert (row["input_tokens"], row["output_tokens"]) == (INPUT_TOKENS, OUTPUT_TOKENS)
    assert told["trace"]["output_tokens"] == OUTPUT_TOKENS
    assert 0 < row["ttft_p50_s"] <= row["ttft_max_s"] < row["completion_p99_s"] <= row["took_s"]
    assert {name: one["output_tokens"] for name, one in row["tenants"].items()} == {"a": 30, "b": 40}
    assert told["prefill_floor_s"] > 0
    assert row["others_cores"] >= 0


def test_a_server_that_is_there_already(cli: CliProcess, trace: str, tmp_path: Path) -> None:
    up = cli.run("up", "-d", "--wait", "--models", cli.models("  toy: {kind: toy, toy: {load_s: 0, step_s: 2ms}}\n"))
    assert up.returncode == 0, up.stderr
    port = json.loads((cli.folder / "run" / "daemon.json").read_text())["port"]
    where = ("--url", f"http://127.0.0.1:{port}/v1", "--model", "toy", "--png", str(tmp_path / "toy"))
    told = measured(cli, "--trace", trace, "--runs", "2", *where)
    (row,) = told["rows"]
    assert (row["policy"], row["tier"], row["paged_bytes"]) == ("-", "-", None)
    assert (row["failed"], row["output_tokens"], len(row["runs"])) == (0, OUTPUT_TOKENS, 2)
    assert row["medians"]["output_tokens_per_s"] == pytest.approx(sum(row["runs"]) / 2)
    assert row["input_tokens"] > 0
    assert {path.name for path in tmp_path.glob("*.png")} == {"toy-ttft.png", "toy-tokens.png"}

    unknown = cli.run("bench", "burst", "--trace", trace, *where[:2], "--model", "nobody")
    assert unknown.returncode == 1
    assert "4 of 4 prompts failed: 4 × HTTP 404" in unknown.stderr
