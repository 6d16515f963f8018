"""The house stays as it was drawn: small rooms, one place for each kind of test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("aquahost", "cuda/aquahost_cuda", "tui/aquahost_tui")
TEST_FOLDERS = {"pure", "emulated", "contract", "process", "screen", "gpu", "support"}
MOST_LINES = 300
MOST_FUNCTION_LINES = 60


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_small_enough_to_read(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MOST_FUNCTION_LINES, f"{node.name} is too long to read at once"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_and_public_names_say_what_they_promise(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert path.name == "__main__.py" or ast.get_docstring(tree), f"{path} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name} has no docstring"


def test_every_test_stands_in_the_folder_of_what_it_needs() -> None:
    strays = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.relative_to(ROOT / "tests").parts[0] not in TEST_FOLDERS
    ]
    assert strays == []


def test_demo_tour_is_the_readme_s_tour() -> None:
    """The commands that `make demo` runs are the ones the README shows, word for word."""
    tour = (ROOT / "tools" / "demo.sh").read_text().replace('"$out/paint.png"', "demo-output/paint.png")
    tour = tour.replace('"$out/sing.wav"', "demo-output/sing.wav")
    commands = [line.removeprefix("show ") for line in tour.splitlines() if line.startswith("show aquahost")]
    shown = [line.removeprefix("$ ") for line in (ROOT / "README.md").read_text().splitlines()]
    assert len(commands) >= 5
    assert [command for command in commands if command not in shown] == []
