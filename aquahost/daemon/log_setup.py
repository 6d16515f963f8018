"""Where the daemon's log goes: its file, and standard error for whoever watches it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from aquahost.errors import StartError
from aquahost.log_privacy import PrivateFormatter

MOST_BYTES = 8 << 20
KEPT_FILES = 2
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@contextmanager
def logging_to(path: Path, *, log_prompts: bool = False) -> Iterator[None]:
    """Log to `path` and to standard error while the context lasts. Raises StartError if that cannot be.

    With `log_prompts` also what errors say that a prompt caused.

    AQUAHOST_LOG_LEVEL sets how much (DEBUG, INFO, WARNING, ERROR).
    """
    level = os.environ.get("AQUAHOST_LOG_LEVEL", "INFO").upper()
    if level not in LEVELS:
        raise StartError(f"AQUAHOST_LOG_LEVEL is {level!r}; use one of {', '.join(LEVELS)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = RotatingFileHandler(path, maxBytes=MOST_BYTES, backupCount=KEPT_FILES, encoding="utf-8")
    except OSError as error:
        raise StartError(
            f"cannot write the log {path}: {error.strerror}; set AQUAHOST_LOG_DIR to a folder of your own"
        ) from error
    file.setFormatter(PrivateFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", log_prompts=log_prompts))
    handlers: list[logging.Handler] = [file]
    if not _is_stderr(path):
        terminal = logging.StreamHandler(sys.stderr)
        terminal.setFormatter(
            PrivateFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S", log_prompts=log_prompts)
        )
        handlers.append(terminal)
    root = logging.getLogger()
    level_before = root.level
    root.setLevel(level)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        root.setLevel(level_before)
        for handler in handlers:
            root.removeHandler(handler)
        file.close()


def _is_stderr(path: Path) -> bool:
    """Whether standard error already goes to that file, as for a daemon in the background."""
    try:
        return os.path.samestat(os.fstat(sys.stderr.fileno()), path.stat())
    except (OSError, ValueError):
        return False
