"""What the kernel knows of one daemon's processes: who they are, and what they hold."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path


def processes_of(runtime_dir: Path) -> dict[int, int]:
    """Everyone alive who was begun with this runtime folder in the environment: a daemon, its workers, their guards,
    and whatever these began. By process id, the process group; zombies are left out."""
    mark = f"AQUAHOST_RUNTIME_DIR={runtime_dir}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # Gone meanwhile, or another user's. A zombie's environment is empty.
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = os.getpgid(int(entry.name))
    return found


def descriptors_of(pid: int) -> Counter[str]:
    """How many descriptors of each kind ("socket", "pipe", "anon_inode", "file") a process has open."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            kind, is_object, _ = os.readlink(entry).partition(":[")
            found[kind if is_object else "file"] += 1
    return found
