"""`aquahost chaos` in its short form: what a release runs by the hundred and by the hour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cli_process import PATIENCE_S, CliProcess, cli_process


@pytest.fixture
def cli() -> Iterator[CliProcess]:
    with cli_process() as cli:
        yield cli


def report_of(cli: CliProcess, *words: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """The report of a run in which nothing was lost, wrong or left over."""
    done = cli.run("chaos", *words, "-o", "json", patience_s=patience_s)
    assert done.returncode == 0, done.stderr + done.stdout
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["is_whole"]
    assert [check["name"] for check in report["checks"] if check["found"]] == []
    return report


def test_sudden_deaths_of_workers_and_of_the_daemon(cli: CliProcess) -> None:
    report = report_of(cli, "--toys", "--rounds", "6", "--daemon-kills", "1")
    counts = report["counts"]
    assert (counts["workers killed"], counts["daemons killed"]) == (6, 1)
    assert counts["prompts answered"] > 20
    assert counts["durable jobs"] > 3
    back, *_ = report["times"]
    assert 0 < back["p50_s"] <= back["p99_s"]


def test_bytes_that_no_client_should_send(cli: CliProcess) -> None:
    report = report_of(cli, "bytes", "--inputs", "600")
    assert report["counts"]["inputs"] == 600
    assert report["counts"]["400"] > 100
    assert report["counts"]["200"] > 10


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_three_minutes_of_mixed_use_in_which_nothing_grows(cli: CliProcess) -> None:
    report = report_of(cli, "soak", "--for", "3m", patience_s=360)
    assert report["counts"]["prompts answered"] > 300
    grown = {one["name"]: one for one in report["grown"]}
    names = {f"memory of {name}" for name in ("daemon", "toy", "tiny", "paint")}
    assert names | {"descriptors of daemon", "time of a prompt"} <= set(grown)
    assert grown["memory of daemon"]["trend"]["start"] > 10 << 20
    assert grown["descriptors of daemon"]["trend"]["start"] > 5
