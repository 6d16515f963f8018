"""`aquahost doctor` with the real probe, with and without a daemon."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from aquahost.cli.doctor.report import Report, Severity
from cli_process import CliProcess, cli_process

ENDS = (-1, 0, 1)
PAIRS = {(source, target) for source in ENDS for target in ENDS if source != target}


@pytest.fixture
def cli() -> Iterator[CliProcess]:
    with cli_process() as made:
        yield made


def report_of(done: subprocess.CompletedProcess[str]) -> Report:
    report = msgspec.json.decode(done.stdout, type=Report)
    worst = any(finding.severity is Severity.PROBLEM for finding in report.findings)
    assert done.returncode == int(worst), done.stdout
    return report


def test_without_a_daemon_it_measures_a_node_of_its_own(cli: CliProcess) -> None:
    report = report_of(cli.run("doctor", "--models", cli.models("  toy: {kind: toy}\n"), "-o", "json"))
    assert report.hardware_from == "probe"
    assert report.hardware is not None, report.hardware_trouble
    assert report.hardware.driver == "emulated"
    assert [gpu.total_bytes for gpu in report.hardware.gpus] == [64 << 20] * 2
    assert {(link.source, link.target) for link in report.hardware.links} == PAIRS
    assert all(link.usable and link.bytes_per_s > 0 for link in report.hardware.links)
    assert not [finding for finding in report.findings if finding.severity is Severity.PROBLEM]
    assert not report.daemon.answers
    assert report.daemon.trouble is None
    assert not (cli.folder / "run").exists()


def test_a_table_for_people(cli: CliProcess) -> None:
    done = cli.run("doctor", "--models", cli.models("  toy: {kind: toy}\n"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FROM \\ TO" in done.stdout
    assert done.stdout.endswith("nothing keeps models from running or lending\n")


def test_beside_a_daemon_it_shows_what_that_found(cli: CliProcess) -> None:
    models = cli.models("  toy: {kind: toy}\n  other: {kind: toy, gpu: 1}\n")
    assert cli.run("up", "-d", "--wait", "--models", models).returncode == 0
    report = report_of(cli.run("doctor", "--models", models, "-o", "json"))
    assert report.daemon.pid == cli.about()["pid"]
    assert report.daemon.trouble is None
    assert report.hardware_from == "daemon"
    assert report.hardware is not None
    assert {(link.source, link.target) for link in report.hardware.links} == PAIRS
    again = report_of(cli.run("doctor", "--measure", "--models", models, "-o", "json"))
    assert again.hardware_from == "probe"
    assert again.daemon.answers
    assert cli.run("leases").stderr == "no leases: no model needs more KV memory than it has\n"


def test_a_host_that_does_not_lend_says_so(cli: CliProcess) -> None:
    models = cli.models("  toy: {kind: toy}\n")
    assert cli.run("up", "-d", "--wait", "--models", models, AQUAHOST_LEASING__ENABLED="false").returncode == 0
    assert cli.run("leases").stderr == "no leases: leasing.enabled is false in models.yaml\n"
    report = report_of(cli.run("doctor", "--models", models, "-o", "json"))
    assert "GPUs do not lend" in [finding.what for finding in report.findings]


def test_a_daemon_that_hangs_is_a_problem(cli: CliProcess) -> None:
    models = cli.models("  toy: {kind: toy}\n")
    assert cli.run("up", "-d", "--wait", "--models", models).returncode == 0
    pid = cli.about()["pid"]
    subprocess.run(["kill", "-STOP", str(pid)], check=True)
    try:
        report = report_of(cli.run("doctor", "--models", models, "-o", "json"))
    finally:
        subprocess.run(["kill", "-CONT", str(pid)], check=True)
    assert report.daemon.pid == pid
    assert report.daemon.trouble is not None
    assert "does not answer" in next(one.what for one in report.findings if one.severity is Severity.PROBLEM)
