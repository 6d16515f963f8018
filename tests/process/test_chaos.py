"""`aquahost chaos` in its short form: what a release runs by the hundred and by the hour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cli_process import CliProcess, cli_process


@pytest.fixture
def cli() -> Iterator[CliProcess]:
    with cli_process() as cli:
        yield cli


def report_of(cli: CliProcess, *words: str) -> dict[str, Any]:
    """The report of a run in which nothing was lost, wrong or left over."""
    done = cli.run("chaos", *words, "-o", "json")
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


def test_long_use_in_a_few_seconds(cli: CliProcess) -> None:
    """Too short to say that nothing grows; long enough to say that it is measured, and that all is answered."""
    done = cli.run("chaos", "soak", "--for", "5s", "--toys", "-o", "json")
    report = json.loads(done.stdout)
    found = {check["name"]: check["found"] for check in report["checks"]}
    found.pop("things that grow")
    assert set(found.values()) == {0}, report["checks"]
    grown = {one["name"]: one for one in report["grown"]}
    assert {"memory of daemon", "memory of toy", "descriptors of daemon", "time of a prompt"} <= set(grown)
    assert grown["memory of daemon"]["trend"]["start"] > 10 << 20
    assert grown["descriptors of daemon"]["trend"]["start"] > 5
