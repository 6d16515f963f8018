"""`python -m aquahost.bench.gpu_check`: try the device layer on this machine's GPU, measure it and write both down.

Runs from a bare checkout too, with PYTHONPATH=.:cuda:tui and nothing installed but cuda-bindings, and pytest for the
tests. Everything that touches the GPU is done by processes of their own with a limit each, five minutes together.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aquahost.bench.figures import Figure, Place, this_place
from aquahost.bench.gpu_sections import MEASURES
from aquahost.child_process import TooSlowError, run_bounded

_ROOT = Path(__file__).resolve().parents[2]
_TESTS = ("tests/contract", "tests/gpu/test_driver_gpu.py")
_OTHER_TESTS = ("tests/gpu/test_llm_gpu.py", "tests/gpu/test_weights_gpu.py")
_TESTS_LIMIT_S = 120.0
_SECTION_LIMIT_S = 35.0


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
    """Check, measure, write a JSON and a Markdown file. Returns 1 if something failed, missed its bar, or was not run
    without having been waived.
    """
    asked = _parser().parse_args(arguments)
    began_s = time.perf_counter()
    try:
        about = _section("about", asked)
    except _SectionError as error:
        sys.stderr.write(f"no GPU to check: {error}\n")
        return 1
    report = Report(driver=asked.driver, partition=asked.partition, place=this_place(), **about)
    if asked.without_tests:
        report.not_run.append("the device contract suite: --without-tests")
    else:
        _run_tests(report)
    for name in MEASURES:
        _measure(name, report, asked)
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
    parser.add_argument("--without-tests", action="store_true", help="measure only")
    return parser


class _SectionError(Exception):
    """A section has no result; the text says why."""


def _section(name: str, asked: argparse.Namespace) -> Any:
    """What a section prints, decoded. Raises _SectionError."""
    # One that can't be killed may go on writing there.
    with tempfile.TemporaryDirectory(prefix="aquahost-check.", ignore_cleanup_errors=True) as folder:
        line = [sys.executable, "-P", "-m", "aquahost.bench.gpu_sections", name, "--driver", asked.driver]
        line += ["--partition", str(asked.partition), "--folder", folder]
        try:
            done = run_bounded(line, env=_env(*sys.path), limit_s=_SECTION_LIMIT_S)
        except TooSlowError as error:
            raise _SectionError(str(error)) from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise _SectionError(said[-1] if said else f"it ended with status {done.returncode}")
    return json.loads(done.stdout)


def _env(*paths: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": ":".join(paths)}


def _measure(name: str, report: Report, asked: argparse.Namespace) -> None:
    sys.stderr.write(f"measuring {name} …\n")
    try:
        figures = [Figure(**fields) for fields in _section(name, asked)]
    except _SectionError as error:
        report.failed.append(f"{name}: {error}")
        return
    report.figures[name] = figures
    report.failed += [
        f"{name}: {one.name} is {one.value:.3f} {one.unit}, its bar {one.bar}" for one in figures if one.met is False
    ]


def _run_tests(report: Report) -> None:
    """The device contract suite in a process of its own, with settings that need no plugin of pytest."""
    why_not = None
    if not (_ROOT / _TESTS[0]).exists():
        why_not = "there are no tests beside this package"
    elif importlib.util.find_spec("pytest") is None:
        why_not = "pytest is not installed"
    if why_not is not None:
        report.failed.append(f"the device contract suite was NOT RUN: {why_not} (--without-tests does without it)")
        return
    report.not_run += [f"{path}: it needs torch, transformers and an installed aquahost" for path in _OTHER_TESTS]
    paths = [str(_ROOT / path) for path in (".", "cuda", "tui", "tests/support")]
    marker = "gpu" if report.driver == "cuda" else "not gpu"
    with tempfile.NamedTemporaryFile("w", suffix=".ini", prefix="aquahost-check.") as settings:
        settings.write("[pytest]\naddopts = --import-mode=importlib\nmarkers = gpu\n")
        settings.flush()
        line = [sys.executable, "-m", "pytest", "-q", "-c", settings.name, "--rootdir", str(_ROOT), "-m", marker]
        sys.stderr.write("running the device contract suite …\n")
        try:
            done = run_bounded(
                [*line, "-p", "no:cacheprovider", *_TESTS],
                env=_env(*paths, *sys.path),
                limit_s=_TESTS_LIMIT_S,
                cwd=_ROOT,
            )
        except TooSlowError as error:
            report.failed.append(f"the device contract suite: {error}")
            return
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    report.tests = lines[-1].strip("= ") if lines else done.stderr.decode(errors="replace").strip()
    if done.returncode != 0:
        report.failed.append(f"the device contract suite: {report.tests}")
        report.failed += [text for text in lines if text.startswith(("FAILED", "ERROR"))]


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
        f"Device contract suite: {report.tests or 'NOT RUN'}.",
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
