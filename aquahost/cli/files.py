"""Files that `aquahost run` writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, Any

import typer

_MOST_NAME = 40


def open_new(path: Path, mode: str) -> IO[Any]:
    """Open `path` to write; a usage error that says why if that is not possible."""
    try:
        return path.open(mode, encoding="utf-8" if "b" not in mode else None)
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="'--output'") from error


def check_folder(path: Path) -> None:
    """A usage error unless a file could be made at `path`; asked before a long prompt, not after it."""
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder", param_hint="'--output'")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"the folder {path.parent} does not exist", param_hint="'--output'")


def free_name(prompt: str, suffix: str, folder: Path) -> Path:
    """A name made of the prompt's first words that no file in `folder` has: "a-red-house.png", "a-red-house-2.png"."""
    words = "-".join(re.findall(r"\w+", prompt.lower())).encode()[:_MOST_NAME].decode(errors="ignore").strip("-")
    stem = words or "reply"
    number = 1
    while (folder / (path := _numbered(stem, number, suffix))).exists():
        number += 1
    return path


def numbered(path: Path, number: int) -> Path:
    """`path` for the result of this number (from 1): "house.png", "house-2.png"."""
    return path.with_name(_numbered(path.stem, number, path.suffix.removeprefix(".")).name) if number > 1 else path


def _numbered(stem: str, number: int, suffix: str) -> Path:
    return Path(f"{stem}.{suffix}" if number == 1 else f"{stem}-{number}.{suffix}")
