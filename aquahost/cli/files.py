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


def check_target(path: str, flag: str) -> None:
    """A usage error unless files could be made at `path`, or at paths that begin with it: before long work, not after
    it."""
    folder = Path(path).parent
    if path.endswith(os.sep) or Path(path).is_dir():
        raise typer.BadParameter(f"{path} is a folder; add a name, like {Path(path) / 'run'}", param_hint=f"'{flag}'")
    if not folder.is_dir():
        raise typer.BadParameter(f"there is no folder {folder}", param_hint=f"'{flag}'")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise typer.BadParameter(f"nothing can be written to the folder {folder}", param_hint=f"'{flag}'")


def check_record(record: Path | None, *, overwrite: bool) -> None:
    """What a file holds is not lost by mistake."""
    if record is None:
        if overwrite:
            raise typer.BadParameter("belongs to --record", param_hint="'--overwrite'")
        return
    check_target(str(record), "--record")
    if not overwrite and os.path.isfile(record) and os.path.getsize(record):
        raise typer.BadParameter(f"{record} exists; name another file, or add --overwrite", param_hint="'--record'")
