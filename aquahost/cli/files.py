"""Files that `aquahost run` writes."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import typer


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
