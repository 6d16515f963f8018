"""The measurements of the device layer run, leave nothing behind and are written down."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquahost.bench import gpu_check
from aquahost.bench.copy_rates import measure_copy_rates
from aquahost.bench.figures import Figure
from aquahost.bench.paging import measure_paging_on
from aquahost.bench.vmm_costs import measure_vmm_costs
from aquahost_cuda.driver import EmulatedDriver
from aquahost_cuda.vmm import Location
from driver_fixtures import MIB, emulated

PLACES = {"a neighbour": Location.device(1), "the host": Location.host()}


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path, gpu_bytes=256 * MIB) as driver:
        yield driver


def names(figures: list[Figure]) -> set[str]:
    assert all(figure.value > 0 for figure in figures)
    return {figure.name for figure in figures}


def test_vmm_costs_are_told_by_step_size_and_place(driver: EmulatedDriver) -> None:
    found = names(measure_vmm_costs(driver, PLACES, (2 * MIB, 4 * MIB)))
    assert "set access, 4.0 MiB on a neighbour" in found
    assert "release, 2.0 MiB on this GPU" in found
    assert "move: remap, 4.0 MiB to the host and back" in found
    assert len(found) == 2 * (3 * 5 + 2 * 3)


def test_copy_rates_are_told_by_size_and_place(driver: EmulatedDriver) -> None:
    found = names(measure_copy_rates(driver, PLACES, (1 * MIB, 2 * MIB)))
    assert "2.0 MiB to the host" in found
    assert "1.0 MiB from a neighbour" in found
    assert "1.0 MiB to and from a neighbour at once" in found
    assert "128 pieces of 256.0 KiB to this GPU, one by one" in found


def test_paging_is_told_both_ways(driver: EmulatedDriver) -> None:
    figures = measure_paging_on(driver, PLACES, blocks=4, chunk_bytes=4 * MIB)
    assert names(figures) == {
        f"paging 4 blocks of 2 MiB {way} ÷ raw rate"
        for way in ("out to a neighbour", "in from a neighbour", "out to the host", "in from the host")
    }
    assert all(figure.met == (figure.value >= 0.9) for figure in figures)


def test_a_check_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = gpu_check.Scale(chunk_sizes_bytes=(2 * MIB,), copy_sizes_bytes=(2 * MIB,), blocks=2, chunk_bytes=2 * MIB)
    monkeypatch.setattr(gpu_check, "_EMULATED", small)
    monkeypatch.setattr(gpu_check, "_ROOT", tmp_path)  # as where the package is installed without its tests
    status = gpu_check.main(["--driver", "emulated", "--partition", "2", "--output-dir", str(tmp_path / "out")])
    (data,) = (tmp_path / "out").glob("*-emulated-gpu.json")
    report = json.loads(data.read_text())
    assert (report["gpu"], report["gpus"], report["partition"]) == ("Emulated GPU", 1, 2)
    assert set(report["figures"]) == {"vmm", "copies", "paging"}
    assert report["not_run"] == ["the device contract suite: there are no tests beside this package"]
    assert status == int(bool(report["failed"]))
    assert all("its bar >= 0.9" in line for line in report["failed"])
    table = data.with_suffix(".md").read_text()
    assert table.startswith("# 1 × Emulated GPU\n")
    assert "Device contract suite: not run." in table
    assert "| create, 2.0 MiB on a neighbour |" in table


def test_what_fails_is_told_and_the_rest_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    too_much = gpu_check.Scale(
        chunk_sizes_bytes=(16 << 30,), copy_sizes_bytes=(2 * MIB,), blocks=2, chunk_bytes=2 * MIB
    )
    monkeypatch.setattr(gpu_check, "_EMULATED", too_much)
    monkeypatch.setattr(gpu_check, "_ROOT", tmp_path)
    assert gpu_check.main(["--driver", "emulated", "--partition", "1", "--output-dir", str(tmp_path)]) == 1
    (data,) = tmp_path.glob("*.json")
    report = json.loads(data.read_text())
    assert report["failed"][0].startswith("vmm: OutOfMemoryError: cuMemCreate failed")
    assert set(report["figures"]) == {"copies", "paging"}
    assert "--partition makes none" in report["not_run"][1]


def test_without_a_gpu_there_is_nothing_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert gpu_check.main(["--output-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("no GPU to check: no CUDA: the package cuda-bindings")
    assert list(tmp_path.iterdir()) == []
