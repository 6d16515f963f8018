"""The measurements of the device layer run, leave nothing behind and are written down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aquahost.bench import gpu_check
from aquahost.bench.block_copies import BLOCK_BYTES, measure_block_copies
from aquahost.bench.copy_rates import measure_copy_rates
from aquahost.bench.figures import Figure
from aquahost.bench.gpu_sections import ON_GPU
from aquahost.bench.vmm_costs import measure_vmm_costs
from aquahost_cuda.check import DriverError
from aquahost_cuda.driver import EmulatedDriver
from aquahost_cuda.emulated.types import CUresult
from aquahost_cuda.vmm import Location
from driver_fixtures import MIB, NOTHING, emulated

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


def test_block_copies_are_told_both_ways(driver: EmulatedDriver) -> None:
    figures = measure_block_copies(driver, PLACES, blocks=4, chunk_bytes=4 * MIB)
    assert names(figures) == {
        f"copy engine: 4 blocks of 2 MiB {way} ÷ one plain copy"
        for way in ("out to a neighbour", "in from a neighbour", "out to the host", "in from the host")
    }
    assert all(figure.met == (figure.value >= 0.9) for figure in figures)


@pytest.mark.parametrize("failing", ["cuMemMap", "cuMemSetAccess"])
def test_a_step_that_fails_leaves_nothing_behind(
    driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    monkeypatch.setattr(driver, failing, lambda *arguments: (CUresult.CUDA_ERROR_UNKNOWN,))
    with pytest.raises(DriverError, match="CUDA_ERROR_UNKNOWN"):
        measure_vmm_costs(driver, {}, (2 * MIB,))
    assert driver.live() == NOTHING


@pytest.mark.parametrize(
    ("gib", "blocks", "largest"), [(0.5, 56, 32 * MIB), (1.5, 170, 32 * MIB), (9.5, 256, 512 * MIB)]
)
def test_what_is_measured_fits_in_a_part(gib: float, blocks: int, largest: int) -> None:
    room_bytes = int(gib * (1 << 30))
    scale = ON_GPU.fitted(room_bytes)
    assert scale.blocks == blocks
    assert max(scale.copy_sizes_bytes) == largest
    chunks = -(-scale.blocks * BLOCK_BYTES * 5 // 4 // scale.chunk_bytes)
    assert chunks * scale.chunk_bytes + scale.blocks * BLOCK_BYTES <= room_bytes
    assert max(*scale.copy_sizes_bytes, *scale.chunk_sizes_bytes) <= room_bytes // 4


# -- the whole check ---------------------------------------------------------------------------------------------


def check(folder: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    """Run it on an emulated GPU; (status, the JSON file, the Markdown file)."""
    status = gpu_check.main(["--driver", "emulated", "--output-dir", str(folder / "out"), *more])
    (data,) = (folder / "out").glob("*-emulated-gpu.json")
    return status, json.loads(data.read_text()), data.with_suffix(".md").read_text()


def test_a_check_is_written_down(tmp_path: Path) -> None:
    status, report, table = check(tmp_path, "--partition", "2", "--without-tests")
    assert (report["gpu"], report["gpus"], report["partition"]) == ("Emulated GPU", 1, 2)
    assert set(report["figures"]) == {"vmm", "copies", "blocks"}
    assert report["not_run"] == ["the device contract suite: --without-tests"]
    assert status == int(bool(report["failed"]))
    assert all("its bar >= 0.9" in line for line in report["failed"])
    assert table.startswith("# 1 × Emulated GPU\n")
    assert "Device contract suite: NOT RUN." in table
    assert "| create, 2.0 MiB on another part of the same GPU |" in table


def test_what_fails_is_told_and_the_rest_is_measured(tmp_path: Path) -> None:
    # Parts of 32 MiB hold no 128 pieces, and some chunks.
    status, report, _ = check(tmp_path, "--partition", "256", "--without-tests")
    assert status == 1
    assert report["failed"][0].startswith("copies: OutOfMemoryError: cuMemCreate failed")
    assert set(report["figures"]) == {"vmm", "blocks"}


def test_what_hangs_costs_its_section_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "_section", hanging(gpu_check._section, "copies"))
    status, report, _ = check(tmp_path, "--partition", "1", "--without-tests")
    assert status == 1
    assert report["failed"][0] == "copies: no answer within 0.01 s"
    assert set(report["figures"]) == {"vmm", "blocks"}
    assert "--partition makes none" in report["not_run"][0]


def hanging(section: Any, name: str) -> Any:
    """The sections, of which one gets no time."""

    def limited(asked: str, *arguments: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            if asked == name:
                patch.setattr(gpu_check, "_SECTION_LIMIT_S", 0.01)
            return section(asked, *arguments)

    return limited


def without_pytest(patch: pytest.MonkeyPatch, folder: Path) -> str:
    patch.setattr(gpu_check.importlib.util, "find_spec", lambda name: None)
    return "pytest is not installed"


def without_tests(patch: pytest.MonkeyPatch, folder: Path) -> str:
    patch.setattr(gpu_check, "_ROOT", folder)  # as where the package is installed without its tests
    return "there are no tests beside this package"


@pytest.mark.parametrize("without", [without_pytest, without_tests])
def test_a_suite_that_is_not_run_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], without: Any
) -> None:
    why = without(monkeypatch, tmp_path)
    monkeypatch.setattr(gpu_check, "MEASURES", ())
    status, report, _ = check(tmp_path, "--partition", "2")
    assert status == 1
    assert report["failed"][0].startswith(f"the device contract suite was NOT RUN: {why}")
    assert f"FAILED: the device contract suite was NOT RUN: {why}" in capsys.readouterr().err


def test_tests_that_need_more_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "_TESTS", ("tests/contract/test_copies.py",))
    monkeypatch.setattr(gpu_check, "MEASURES", ())
    _, report, _ = check(tmp_path, "--partition", "2")
    assert "passed" in report["tests"]
    assert [line.partition(":")[0] for line in report["not_run"]] == [
        "tests/gpu/test_llm_gpu.py",
        "tests/gpu/test_weights_gpu.py",
    ]


def test_without_a_gpu_there_is_nothing_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpu_check.main(["--output-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("no GPU to check: DriverUnavailableError: no CUDA: ")
    assert list(tmp_path.iterdir()) == []
