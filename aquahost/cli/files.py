"""Files that commands write."""

from __future__ import annotations

import os
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


def check_record(record: Path | None, *, overwrite: bool) -> None:
    """What a file holds is not lost by mistake."""
    if record is None:
        if overwrite:
            raise typer.BadParameter("belongs to --record", param_hint="'--overwrite'")
    elif not overwrite and os.path.isfile(record) and os.path.getsize(record):
        raise typer.BadParameter(f"{record} exists; name another file, or add --overwrite", param_hint="'--record'")
