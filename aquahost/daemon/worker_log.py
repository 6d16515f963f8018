"""The files workers log to: how they stay small, what they say last."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from aquahost.log_format import said

MOST_BYTES = 8 << 20
"""A log larger than this is set aside (as NAME.log.1) when its worker starts."""
LIVE_BYTES = 16 << 20
"""A log that grows larger than this while its worker lives loses its oldest lines..."""
KEPT_BYTES = 8 << 20
"""...down to this."""
TAIL_BYTES = 8192

logger = logging.getLogger(__name__)


def open_log(path: Path) -> BinaryIO:
    """Open to append, setting a large one aside first. A log that cannot be written must not keep a model from
    running: then what its worker says goes nowhere, which is logged."""
    try:
        if path.exists() and path.stat().st_size > MOST_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")
    except OSError as error:
        logger.warning("the log %s cannot be written, and its worker runs without one: %s", path, error.strerror)
        return Path(os.devnull).open("ab")


def trim_log(path: Path) -> None:
    """Bring a log that has grown too large down to its last whole lines; a failure is logged.

    Its worker goes on writing to the same file, at whatever its end then is, since the file is open to append. Lines
    written in the very moment of cutting are lost.
    """
    try:
        if path.stat().st_size <= LIVE_BYTES:
            return
        with path.open("r+b") as log:
            log.seek(-KEPT_BYTES, os.SEEK_END)
            kept = log.read(KEPT_BYTES)
            kept = kept[kept.find(b"\n") + 1 :]
            log.seek(0)
            log.write(kept)
            log.truncate()
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("the log %s cannot be cut to size: %s", path, error)


def trim_logs(paths: Iterable[Path]) -> None:
    """`trim_log` each."""
    for path in paths:
        trim_log(path)


def log_bytes(path: Path) -> int:
    """Size of a log; 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


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
    return next((said(line.strip())[:300] for line in reversed(lines) if line.strip()), "")
