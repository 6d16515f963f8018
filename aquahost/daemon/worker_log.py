"""The files workers log to: where they lie, how they stay small, what they say last."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 8 << 20
"""A log larger than this is set aside (as NAME.log.1) when its worker starts."""
TAIL_BYTES = 8192


def log_file(log_dir: Path, model: str | None) -> Path:
    """The log of a model's workers, or the daemon's own for None. A "/" in a name becomes "--"."""
    if model is None:
        return log_dir / "daemon.log"
    return log_dir / f"model-{model.replace('/', '--')}.log"


def open_log(path: Path) -> BinaryIO:
    """Open to append, setting a large one aside first."""
    if path.exists() and path.stat().st_size > MOST_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def last_line(path: Path, after: int) -> str:
    """The last line written past byte `after`, at most 300 characters; "" if there is none.

    A log shorter than that was begun anew, and counts as a whole.
    """
    try:
        with path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(after if after <= end else 0, end - TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
