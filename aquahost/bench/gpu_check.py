"""`python -m aquahost.bench.gpu_check`: try the device layer on this machine's GPU, measure it and write both down.

Runs from a bare checkout too, with PYTHONPATH=.:cuda:tui and nothing installed but cuda-bindings, and pytest for the
tests.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquahost.bench.copy_rates import measure_copy_rates
from aquahost.bench.figures import Figure, Place, this_place
from aquahost.bench.paging import PROMPT_BLOCKS, measure_paging_on
from aquahost.bench.vmm_costs import measure_vmm_costs
from aquahost.units import GIB, KIB, MIB

if TYPE_CHECKING:
    from aquahost_cuda.driver import Driver
    from aquahost_cuda.vmm import Location

_ROOT = Path(__file__).resolve().parents[2]
_TESTS = ("tests/contract", "tests/gpu/test_driver_gpu.py")
_TESTS_LIMIT_S = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured: much on a GPU, little where the point is to run the code."""

    chunk_sizes_bytes: tuple[int, ...]
    copy_sizes_bytes: tuple[int, ...]
    blocks: int
    chunk_bytes: int


_ON_GPU = Scale(
    chunk_sizes_bytes=(2 * MIB, 16 * MIB, 64 * MIB, 256 * MIB),
    copy_sizes_bytes=(64 * KIB, 512 * KIB, 4 * MIB, 32 * MIB, 512 * MIB),
    blocks=PROMPT_BLOCKS,
    chunk_bytes=64 * MIB,
)
_EMULATED = Scale(
    chunk_sizes_bytes=(2 * MIB, 16 * MIB), copy_sizes_bytes=(64 * KIB, 4 * MIB), blocks=16, chunk_bytes=2 * MIB
)


@dataclass(slots=True, kw_only=True)
class Report:
    """What was found."""

    gpu: str
    gpus: int
    driver: str
    driver_version: int
    partition: int
    place: Place
    took_s: float = 0.0
    tests: str = ""
    """pytest's own last line."""
    figures: dict[str, list[Figure]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, measure, write a JSON and a Markdown file. Returns 1 if something failed or missed its bar."""
    from aquahost_cuda.check import DriverError
    from aquahost_cuda.driver import DriverUnavailableError

    asked = _parser().parse_args(arguments)
    began_s = time.perf_counter()
    try:
        with _driver(asked.driver, asked.partition) as driver:
            report = _check(driver, asked)
    except (DriverUnavailableError, DriverError, ValueError) as error:
        sys.stderr.write(f"no GPU to check: {error}\n")
        return 1
    report.took_s = time.perf_counter() - began_s
    for path in _write(report, asked.output_dir):
        sys.stdout.write(f"{path}\n")
    for line in [f"FAILED: {line}" for line in report.failed] + [f"not run: {line}" for line in report.not_run]:
        sys.stderr.write(f"{line}\n")
    return int(bool(report.failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu_check", description="Try and measure the device layer.")
    parser.add_argument("--driver", choices=["cuda", "emulated"], default="cuda")
    parser.add_argument("--partition", type=int, default=8, metavar="N", help="show each GPU as N smaller ones")
    parser.add_argument("--output-dir", type=Path, default=_ROOT / "docs" / "benchmarks", metavar="FOLDER")
    return parser


@contextmanager
def _driver(choice: Any, partition: int) -> Iterator[Driver]:
    from aquahost_cuda.driver import EmulatedNode, load

    with tempfile.TemporaryDirectory(prefix="aquahost-check.") as folder:
        node = EmulatedNode(path=folder, gpus=1, gpu_bytes=8 * GIB) if choice == "emulated" else None
        yield load(choice, node, partition, os.path.join(folder, "parts"))


def _check(driver: Driver, asked: argparse.Namespace) -> Report:
    from aquahost_cuda.check import call
    from aquahost_cuda.device import read_identity
    from aquahost_cuda.driver import physical_index

    report = Report(
        gpu=read_identity(driver, 0)[1].split(" (part", 1)[0],
        gpus=physical_index(driver, call(driver.cuDeviceGetCount) - 1) + 1,
        driver=asked.driver,
        driver_version=int(call(driver.cuDriverGetVersion)),
        partition=asked.partition,
        place=this_place(),
    )
    _run_tests(report)
    places = _places(driver, report)
    scale = _ON_GPU if asked.driver == "cuda" else _EMULATED
    measures: dict[str, Callable[[], list[Figure]]] = {
        "vmm": lambda: measure_vmm_costs(driver, places, scale.chunk_sizes_bytes),
        "copies": lambda: measure_copy_rates(driver, places, scale.copy_sizes_bytes),
        "paging": lambda: measure_paging_on(driver, places, scale.blocks, scale.chunk_bytes),
    }
    for name, measure in measures.items():
        sys.stderr.write(f"measuring {name} …\n")
        try:
            report.figures[name] = measure()
        except Exception as error:  # whatever it was, the others are still worth having
            report.failed.append(f"{name}: {type(error).__name__}: {error}")
            continue
        report.failed += [
            f"{name}: {one.name} is {one.value:.3f} {one.unit}, its bar {one.bar}"
            for one in report.figures[name]
            if one.met is False
        ]
    return report


def _places(driver: Driver, report: Report) -> dict[str, Location]:
    """Where GPU 0 can have memory beside its own."""
    from aquahost_cuda.check import DriverError, call
    from aquahost_cuda.vmm import Location, granularity

    places = {}
    if call(driver.cuDeviceGetCount) > 1 and call(driver.cuDeviceCanAccessPeer, 0, 1):
        places["a neighbour"] = Location.device(1)
    else:
        report.not_run.append("copies to a neighbour: GPU 0 reaches no other GPU, and --partition makes none")
    try:
        granularity(driver, Location.host())
        places["the host"] = Location.host()
    except DriverError as error:
        report.not_run.append(f"copies to the host: {error}")
    return places


def _run_tests(report: Report) -> None:
    """The device contract suite in a process of its own, with settings that need no plugin of pytest."""
    if not (_ROOT / _TESTS[0]).is_dir():
        report.not_run.append("the device contract suite: there are no tests beside this package")
        return
    try:
        import pytest  # noqa: F401
    except ImportError:
        report.not_run.append("the device contract suite: pytest is not installed")
        return
    paths = [".", "cuda", "tui", "tests/support"]
    env = os.environ | {"PYTHONPATH": ":".join([*(str(_ROOT / path) for path in paths), *sys.path])}
    marker = "gpu" if report.driver == "cuda" else "not gpu"
    with tempfile.NamedTemporaryFile("w", suffix=".ini", prefix="aquahost-check.") as settings:
        settings.write("[pytest]\naddopts = --import-mode=importlib\nmarkers = gpu\n")
        settings.flush()
        line = [sys.executable, "-m", "pytest", "-q", "-c", settings.name, "--rootdir", str(_ROOT), "-m", marker]
        sys.stderr.write("running the device contract suite …\n")
        try:
            done = subprocess.run(
                [*line, "-p", "no:cacheprovider", *_TESTS],
                cwd=_ROOT,
                env=env,
                capture_output=True,
                text=True,
                timeout=_TESTS_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            report.failed.append(f"the device contract suite took longer than {_TESTS_LIMIT_S} s")
            return
    lines = done.stdout.strip().splitlines()
    report.tests = lines[-1].strip("= ") if lines else done.stderr.strip()
    if done.returncode != 0:
        report.failed.append(f"the device contract suite: {report.tests}")
        report.failed += [text for text in lines if text.startswith(("FAILED", "ERROR"))]
    report.not_run.append("tests/gpu/test_llm_gpu.py: it needs torch, transformers and an installed aquahost")


def _write(report: Report, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", f"{report.place.date}-{report.gpu}".lower()).strip("-")
    data, table = folder / f"{name}.json", folder / f"{name}.md"
    data.write_text(json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    table.write_text(_markdown(report), encoding="utf-8")
    return [data, table]


def _markdown(report: Report) -> str:
    place = report.place
    lines = [
        f"# {report.gpus} × {report.gpu}",
        "",
        f"{place.date}, commit {place.commit}, {place.machine}, Python {place.python}. Driver: {report.driver}, CUDA "
        f"{report.driver_version // 1000}.{report.driver_version % 1000 // 10}; parts a GPU: {report.partition}; took "
        f"{report.took_s:.0f} s.",
        "",
        f"Device contract suite: {report.tests or 'not run'}.",
        "",
    ]
    lines += [f"- failed: {one}" for one in report.failed] + [f"- not run: {one}" for one in report.not_run]
    for section, figures in report.figures.items():
        lines += ["", f"## {section}", "", "| figure | measured | bar | note |", "|---|---|---|---|"]
        for one in figures:
            missed = " **missed**" if one.met is False else ""
            lines.append(f"| {one.name} | {one.value:.4g} {one.unit} | {one.bar}{missed} | {one.note} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
