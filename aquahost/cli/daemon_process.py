"""The daemon as a process: who it is, whether it lives, how to end it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from aquahost.config.paths import daemon_file


class DaemonFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a running daemon says of itself in daemon.json; other fields are ignored."""

    pid: int
    host: str
    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Address of the HTTP API."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def read_daemon_file(env: Mapping[str, str] = os.environ) -> DaemonFile | None:
    """daemon.json; None if there is none, or it makes no sense."""
    try:
        return msgspec.json.decode(daemon_file(env).read_bytes(), type=DaemonFile)
    except (OSError, msgspec.MsgspecError):
        return None


def living_daemon(env: Mapping[str, str] = os.environ) -> int | None:
    """Process id of the daemon that daemon.json names, if it lives and is one of ours."""
    about = read_daemon_file(env)
    return about.pid if about and lives(about.pid) and _is_aquahost(about.pid) else None


def lives(pid: int) -> bool:
    """Whether the process runs; one that has ended but was not waited for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def _is_aquahost(pid: int) -> bool:
    """Whether the process is an aquahost; process ids are used again."""
    try:
        return b"aquahost" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
