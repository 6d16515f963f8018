"""`aquahost doctor`: what it makes of what it sees, and how it says so."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import aquahost
from aquahost.cli.doctor.findings import findings
from aquahost.cli.doctor.report import ConfigLook, DaemonLook, Finding, Gpu, Hardware, Place, Report, Severity
from aquahost.cli.doctor.shown import write_report
from aquahost.messages.snapshot import LinkView, ModelState, Snapshot
from cli_harness import Canned, a_gpu, a_lease, a_link, a_model, a_snapshot, all_links, run_cli

GIB = 1 << 30


def hardware(gpus: int = 2, **fields: Any) -> Hardware:
    defaults: dict[str, Any] = {
        "driver": "cuda",
        "driver_version": 13020,
        "gpus": [Gpu(index=i, uuid=f"GPU-{i}", name="H100", total_bytes=80 * GIB) for i in range(gpus)],
        "links": all_links(gpus),
    }
    return Hardware(**{**defaults, **fields})


def a_report(**fields: Any) -> Report:
    defaults: dict[str, Any] = {
        "version": "1",
        "python": "3.11",
        "config": ConfigLook(path="/m.yaml", models=3),
        "daemon": DaemonLook(socket="/run/s", pid=7, answers=True, version="1"),
        "places": [Place(what="runtime", path="/run/a")],
        "packages": {"torch": "2.8"},
        "hardware": hardware(),
        "hardware_from": "probe",
    }
    return Report(**{**defaults, **fields})


def problems(report: Report, snapshot: Snapshot | None = None) -> list[str]:
    return [found.what for found in findings(report, snapshot) if found.severity is Severity.PROBLEM]


def notes(report: Report, snapshot: Snapshot | None = None) -> list[str]:
    return [found.what for found in findings(report, snapshot) if found.severity is Severity.NOTE]


def refused(*pairs: tuple[int, int], gpus: int = 4, reason: str = "no peer access") -> Hardware:
    links = [
        a_link(link.source, link.target, usable=False, reason=reason, bytes_per_s=0.0)
        if (link.source, link.target) in pairs
        else link
        for link in all_links(gpus)
    ]
    return hardware(gpus, links=links)


def test_nothing_is_said_of_a_good_machine() -> None:
    assert findings(a_report(), None) == []
    assert findings(a_report(hardware=hardware(8)), a_snapshot(a_model(), gpus=[a_gpu(0), a_gpu(1)])) == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"config": ConfigLook(path="m", mistakes=["m:2: host.prot: unknown key"])}, "m:2: host.prot: unknown key"),
        (
            {"places": [Place(what="logs", path="/x", trouble="/ cannot be written to")]},
            "logs folder /x: / cannot be written to",
        ),
        ({"packages": {"torch": None, "cuda-bindings": None}}, "the package torch is not installed"),
        (
            {"daemon": DaemonLook(socket="s", pid=7, trouble="timed out")},
            "the daemon (pid 7) does not answer: timed out",
        ),
        (
            {"daemon": DaemonLook(socket="s", answers=True, trouble="of another version")},
            "the daemon's answer makes no sense: of another version",
        ),
        (
            {"daemon": DaemonLook(socket="s", answers=True, version="0")},
            "the daemon is version 0, this command 1",
        ),
        ({"hardware": None, "hardware_trouble": "no CUDA"}, "the GPUs cannot be looked at: no CUDA"),
        ({"hardware": hardware(0)}, "there is no GPU"),
        (
            {"config": ConfigLook(path="m", fixed_gpus={"chat": 2, "sing": 1})},
            "the model chat is to live on GPU 2, which is not there",
        ),
        (
            {"hardware": refused((2, 0), (2, 1), (3, 2))},
            "GPU 2 can neither lend nor borrow: no other GPU is reached both ways",
        ),
        ({"hardware": refused((0, -1), (-1, 0))}, "host memory is not to be used over host → GPU 0, GPU 0 → host"),
    ],
)
def test_a_problem_is_named_and_says_what_to_do(fields: dict[str, Any], problem: str) -> None:
    report = a_report(**fields)
    assert problems(report) == [problem]
    assert all(found.advice for found in findings(report, None))


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"daemon": DaemonLook(socket="s")}, "no daemon runs"),
        ({"hardware": hardware(1)}, "with one GPU there is nobody to lend to"),
        ({"hardware": hardware(links=[])}, "the links between the GPUs have not been tested"),
        (
            {"hardware": hardware(driver="emulated", why_not_cuda="no libcuda")},
            "models run on the CPU: the GPUs are emulated (no libcuda)",
        ),
        ({"config": ConfigLook(path="m", leasing=False), "hardware": hardware(links=[])}, "GPUs do not lend"),
        ({"hardware": refused((0, 1))}, "1 of 6 pairs of GPUs do not lend to each other"),
        (
            {"hardware": hardware(3, links=[*all_links(3)[1:], a_link(-1, 0), a_link(2, 1, bytes_per_s=1e6)])},
            "GPU 2 → GPU 1: more than 4 times slower than the usual 8.0 GiB/s",
        ),
    ],
)
def test_a_note_is_no_problem(fields: dict[str, Any], note: str) -> None:
    report = a_report(**fields)
    assert problems(report) == []
    assert notes(report) == [note]


def test_where_no_pair_lends_every_gpu_is_named_once() -> None:
    pairs = [(source, target) for source in range(3) for target in range(3) if source != target]
    report = a_report(hardware=refused(*pairs, gpus=3))
    assert problems(report) == ["GPU 0, GPU 1, GPU 2 can neither lend nor borrow: no other GPU is reached both ways"]
    assert notes(report) == []
    off = a_report(hardware=refused(*pairs, gpus=3), config=ConfigLook(path="m", leasing=False))
    assert problems(off) == []


def test_a_lost_gpu_is_one_problem() -> None:
    found = refused(*[(0, end) for end in (-1, 1, 2)], *[(end, 0) for end in (-1, 1, 2)], gpus=3, reason="lost")
    gpus = [msgspec.structs.replace(gpu, lost="Xid 79" if gpu.index == 0 else None) for gpu in found.gpus]
    report = a_report(hardware=msgspec.structs.replace(found, gpus=gpus))
    assert problems(report) == ["GPU 0 is lost: Xid 79"]
    assert notes(report) == []


def test_a_daemon_tells_of_failed_models_and_late_leases() -> None:
    snapshot = a_snapshot(
        a_model("paint", ModelState.FAILED, reason="too large"),
        leases=[a_lease(5, recalled_bytes=GIB, deadline_in_s=-1.0), a_lease(6, deadline_in_s=1.0)],
    )
    report = a_report(hardware_from="daemon", config=ConfigLook(path="m", fixed_gpus={"a": 9}))
    assert problems(report, snapshot) == ["the model paint failed: too large"]
    assert notes(report, snapshot) == ["lease 5 of chat is late with 1.0 GiB for GPU 1"]


def test_a_daemon_that_could_not_test_the_links_is_a_problem() -> None:
    snapshot = a_snapshot(gpus=[a_gpu(0), a_gpu(1)], lending_trouble="the test of links ended with status -11")
    report = a_report(hardware=hardware(links=[]), hardware_from="daemon")
    assert problems(report, snapshot) == ["nothing is lent: the test of links ended with status -11"]
    assert notes(report, snapshot) == []
    measured = a_report(hardware=refused((0, 1), (1, 0), gpus=2))
    assert len(problems(measured, snapshot)) == 2  # and why it is so now
    nothing_known = a_report(hardware=None, hardware_trouble="no answer")
    assert len(problems(nothing_known, snapshot)) == 2
    off = msgspec.structs.replace(snapshot, leasing=False)
    assert problems(report, off) == []


def shown(report: Report, capsys: pytest.CaptureFixture[str]) -> str:
    write_report(report)
    return capsys.readouterr().out


def test_the_matrix(capsys: pytest.CaptureFixture[str]) -> None:
    links = [
        a_link(0, 1),
        a_link(1, 0, usable=False, reason="bytes arrive wrong", bytes_per_s=0.0),
        a_link(0, -1, reason="PCIe", bytes_per_s=0.0),
        a_link(-1, 0, reason="PCIe", bytes_per_s=25.0e9),
    ]
    hints = ["IOMMU is on:\nturn it off"]
    text = shown(a_report(hardware=hardware(links=links, hints=hints)), capsys)
    assert text[text.index("FROM") :].splitlines() == [
        "FROM \\ TO       GPU 0      GPU 1      host",
        "GPU 0               -  8.0 GiB/s       yes",
        "GPU 1              no          -  untested",
        "host       23.3 GiB/s   untested         -",
        "usable: PCIe (2), NVLink (1)",
        "no: bytes arrive wrong: GPU 1 → GPU 0",
        "hint: IOMMU is on: turn it off",
        "",
        "nothing keeps models from running or lending",
    ]


def test_the_gpus_and_the_driver(capsys: pytest.CaptureFixture[str]) -> None:
    gpus = [Gpu(index=0, uuid="GPU-0", name="显卡\n", total_bytes=80 * GIB, nvlinks=18, lost="gone")]
    text = shown(a_report(hardware=Hardware(driver="cuda", driver_version=13020, gpus=gpus)), capsys)
    assert "driver          cuda 13.2\n" in text
    assert text[text.index("GPU  NAME") :].splitlines()[:2] == [
        "GPU  NAME    MEMORY  NVLINKS  UUID",
        "  0  显卡    80.0 GiB       18  GPU-0",
    ]


def test_a_report_says_what_was_found_the_worst_first(capsys: pytest.CaptureFixture[str]) -> None:
    report = a_report(packages={"torch": None, "msgspec": "0.19"}, daemon=DaemonLook(socket="/run/s"), hardware=None)
    text = shown(msgspec.structs.replace(report, findings=findings(report, None)), capsys)
    assert "packages        torch missing, msgspec 0.19" in text
    assert "daemon          none answers at /run/s" in text
    what = [line for line in text.splitlines() if line.startswith(("problem: ", "note: "))]
    assert [line.partition(":")[0] for line in what] == ["problem", "problem", "note"]
    assert text.count("\n  do: ") == 3


INTS = st.integers(-(2**63), 2**64)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text(max_size=8)
LINKS = st.builds(
    LinkView,
    source=st.integers(-2, 4) | INTS,
    target=st.integers(-2, 4) | INTS,
    usable=st.booleans(),
    reason=WORDS,
    bytes_per_s=FLOATS,
)
GPUS = st.builds(Gpu, index=st.integers(-1, 4) | INTS, uuid=WORDS, name=WORDS, total_bytes=INTS)


@given(st.lists(GPUS, max_size=4), st.lists(LINKS, max_size=8), st.lists(WORDS, max_size=2))
def test_whatever_is_found_can_be_told(gpus: list[Gpu], links: list[LinkView], hints: list[str]) -> None:
    report = a_report(hardware=Hardware(driver="cuda", gpus=gpus, links=links, hints=hints))
    found = findings(report, None)
    write_report(msgspec.structs.replace(report, findings=found))
    assert all(isinstance(one, Finding) and one.what and one.advice for one in found)


# -- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    config = tmp_path / "models.yaml"
    config.write_text("models: {chat: {kind: toy, gpu: 5}}\n")
    return {
        "AQUAHOST_CONFIG": str(config),
        "AQUAHOST_SOCKET": "/nonexistent/socket",
        "AQUAHOST_RUNTIME_DIR": str(tmp_path / "run"),
        "AQUAHOST_STATE_DIR": str(tmp_path / "state"),
        "AQUAHOST_CACHE_DIR": str(tmp_path / "cache"),
    }


def a_good_daemon(**fields: Any) -> Canned:
    gpus = [a_gpu(0), a_gpu(1)]
    return Canned(a_snapshot(a_model(), version=aquahost.__version__, gpus=gpus, **{"links": all_links(2), **fields}))


def test_beside_a_daemon_nothing_is_opened_and_all_is_well(env: dict[str, str]) -> None:
    result = run_cli("doctor", api=a_good_daemon(), env=env)
    assert result.exit_code == 0, result.output
    assert "emulated, as the daemon found it at its start" in result.stdout
    assert "pid 4242, version" in result.stdout
    assert not Path(env["AQUAHOST_RUNTIME_DIR"]).exists()


def test_a_problem_ends_with_1(env: dict[str, str]) -> None:
    result = run_cli("doctor", api=a_good_daemon(links=all_links(2, usable=False, reason="no")), env=env)
    assert result.exit_code == 1
    assert "problem: GPU 0, GPU 1 can neither lend nor borrow" in result.stdout


def test_links_that_the_daemon_could_not_test_end_with_1(env: dict[str, str]) -> None:
    result = run_cli("doctor", api=a_good_daemon(links=[], lending_trouble="no answer within 60 s"), env=env)
    assert result.exit_code == 1
    assert "problem: nothing is lent: no answer within 60 s\n  do: aquahost doctor --measure" in result.stdout
    assert "have not been tested" not in result.stdout


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_one_object_with_everything(form: str, read: Any, env: dict[str, str]) -> None:
    result = run_cli("doctor", "-o", form, api=a_good_daemon(), env=env)
    whole = msgspec.convert(read(result.stdout), Report)
    assert whole.hardware is not None
    assert whole.hardware.links == all_links(2)
    assert whole.packages["torch"]
    assert [found.severity for found in whole.findings] == [Severity.NOTE]


def test_mistakes_in_models_yaml_are_findings(env: dict[str, str]) -> None:
    Path(env["AQUAHOST_CONFIG"]).write_text("host: {prot: 1}\nmodels: {a: {kind: tou}}\n")
    result = run_cli("doctor", api=a_good_daemon(), env=env)
    assert result.exit_code == 1
    assert result.stdout.count("\nproblem: ") == 2
    assert "models.yaml:1: host.prot: unknown key; did you mean port?" in result.stdout


def test_folders_that_cannot_be_used(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    env["AQUAHOST_RUNTIME_DIR"] = str(tmp_path / "file" / "run")
    result = run_cli("doctor", api=a_good_daemon(), env=env)
    assert result.exit_code == 1
    assert "file is no folder" in result.stdout
    if os.getuid() != 0:  # root may write anywhere
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        env["AQUAHOST_RUNTIME_DIR"] = str(closed / "run")
        assert "closed cannot be written to" in run_cli("doctor", api=a_good_daemon(), env=env).stdout


def test_a_driver_that_cannot_be_had_is_a_finding_not_a_crash(env: dict[str, str]) -> None:
    Path(env["AQUAHOST_CONFIG"]).write_text("host: {driver: cuda}\n")
    result = run_cli("doctor", env={**env, "CUDA_VISIBLE_DEVICES": "-1"})
    assert result.exit_code == 1
    assert "problem: the GPUs cannot be looked at: " in result.stdout
    assert "Traceback" not in result.output
