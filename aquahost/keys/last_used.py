"""When each key was used last, kept across runs."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from aquahost.config.paths import private_dirs

PERIOD_S = 60.0
"""How far behind what is kept may be."""


class LastUsed:
    """One empty file a key, whose time is the key's: to note a use is one system call, and no file is written anew.

    What cannot be noted is not: a full disk keeps nobody out.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` need not exist."""
        self._folder = folder
        self._noted_s: dict[str, float] = {}

    def note(self, key_id: str) -> None:
        """The key of this id is used now; touches the disk once in `PERIOD_S` at most."""
        now_s = time.monotonic()
        if now_s - self._noted_s.get(key_id, -PERIOD_S) < PERIOD_S:
            return
        self._noted_s[key_id] = now_s
        with contextlib.suppress(OSError):
            private_dirs(self._folder)
            (self._folder / key_id).touch(mode=0o600)

    def at(self, key_id: str) -> float | None:
        """When it was used last, in seconds since 1970; None if it never was."""
        try:
            return (self._folder / key_id).stat().st_mtime
        except OSError:
            return None
