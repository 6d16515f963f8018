"""What memory a step may use, and what using it costs."""

from __future__ import annotations

from typing import NamedTuple


class Costs(NamedTuple):
    """Time that paging takes, in seconds; None where nothing is known of a link yet."""

    peer_block_s: float | None = None
    """One KV block from or to a neighbour's memory."""
    host_block_s: float | None = None
    """One KV block from or to host memory."""
    transfer_s: float = 0.0
    """The engine's own work for one prompt's way out or in, whatever its length."""


class Room(NamedTuple):
    """Free KV blocks as a step begins."""

    local: int
    remote: int
    """In slower memory, what could be mapped there included."""
    more: bool = False
    """Whether more local blocks are on their way; then nobody is made to use slower memory for want of them."""
    in_haste: bool = False
    """Whether the step should be short: memory is wanted back, which changes hands between two steps."""
    peer: int = 0
    """Those of the remote blocks that lie in neighbours' memory; they are given first."""
    costs: Costs = Costs()
