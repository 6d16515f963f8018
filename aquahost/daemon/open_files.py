"""How many files and connections this process may have open."""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger(__name__)

RESERVE = 256
"""Files that are not clients' connections: sockets and pipes of workers, logs, leases' memory."""


def raise_open_files() -> int:
    """Raise this process's limit on open files as far as the system lets us; returns it.

    Shells give 1,024, which is fewer than the connections that a busy server has. Workers inherit the new limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:
            logger.warning("the limit of %d open files stays: %s", soft, error)
            return soft
    return hard


def room_for_connections(wanted: int, open_files: int) -> int:
    """Most connections to take: `wanted`, or as many as the limit on open files leaves room for, at least one."""
    if open_files < 0:  # RLIM_INFINITY
        return wanted
    return max(1, min(wanted, open_files - RESERVE))
