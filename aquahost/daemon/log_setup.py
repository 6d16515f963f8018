"""Where the daemon's log goes: its file, and standard error for whoever watches it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aquahost.config.paths import private_dirs
from aquahost.daemon.log_file import PatientFileHandler
from aquahost.errors import StartError
from aquahost.log_format import log_format

MOST_BYTES = 8 << 20
KEPT_FILES = 2
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@contextmanager
def logging_to(path: Path, form: str = "text", *, log_prompts: bool = False) -> Iterator[None]:
    """Log to `path` and to standard error while the context lasts, as host.log_format says. Raises StartError if that
    cannot be.

    With `log_prompts` also what errors say that a prompt caused.

    AQUAHOST_LOG_LEVEL sets how much (DEBUG, INFO, WARNING, ERROR).
    """
    level = os.environ.get("AQUAHOST_LOG_LEVEL", "INFO").upper()
    if level not in LEVELS:
        raise StartError(f"AQUAHOST_LOG_LEVEL is {level!r}; use one of {', '.join(LEVELS)}")
    try:
        private_dirs(path.parent)
        file = PatientFileHandler(path, maxBytes=MOST_BYTES, backupCount=KEPT_FILES, encoding="utf-8")
    except OSError as error:
        raise StartError(
            f"cannot write the log {path}: {error.strerror}; set AQUAHOST_LOG_DIR to a folder of your own"
        ) from error
    file.setFormatter(log_format(form, "%(asctime)s %(levelname)-7s %(name)s: %(message)s", log_prompts=log_prompts))
    handlers: list[logging.Handler] = [file]
    if not _is_stderr(path):
        terminal = logging.StreamHandler(sys.stderr)
        brief = "%(asctime)s %(levelname)-7s %(message)s"
        terminal.setFormatter(log_format(form, brief, date="%H:%M:%S", log_prompts=log_prompts))
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
