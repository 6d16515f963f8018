"""The three places where KV blocks lie."""

from __future__ import annotations

from enum import StrEnum


class Tier(StrEnum):
    """Where a block's memory is, nearest first."""

    LOCAL = "local"
    """The model's own GPU."""
    PEER = "peer"
    """Leased from another GPU."""
    HOST = "host"
    """Pinned host memory."""


REMOTE = (Tier.PEER, Tier.HOST)
"""Where blocks are paged out to, fastest first."""
