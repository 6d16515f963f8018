"""What a command is given from outside: the daemon's address, environment and time. Tests give it others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import httpx

    from aquahost.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Passed down as Typer's context object."""

    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    transport: httpx.BaseTransport | None = None
    """Instead of the daemon's socket."""
    sleep: Callable[[float], None] = time.sleep
    """Waits that many seconds between two looks."""
    now_s: Callable[[], float] = time.monotonic

    def socket(self) -> Path:
        """The daemon's Unix socket."""
        from aquahost.config.paths import socket_path

        return socket_path(self.env)

    def client(self, timeout_s: float = 10.0) -> Client:
        """A client of the daemon, which may take so long to answer; to be closed."""
        from aquahost.client import Client

        return Client(self.socket(), transport=self.transport, timeout_s=timeout_s)


def surroundings(context: typer.Context) -> Surroundings:
    """The surroundings that the root command was given."""
    found = context.find_object(Surroundings)
    assert found is not None, "the root command sets them"
    return found
