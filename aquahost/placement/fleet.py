"""The GPUs that models are placed on: equal servers of equal GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aquahost.profiles.data_sheets import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Servers side by side. GPUs are counted through: server s has those from s × `gpus` on."""

    servers: int
    gpus: int
    """Of each server."""
    memory_bytes: int
    """Of each GPU, for models: what is never to be lent is not part of it."""
    link_bytes_per_s: float | None = None
    """Between any two GPUs of a server, each way; None where none reaches another."""
    rates: Mapping[tuple[int, int], float] | None = None
    """Instead, of each pair of a server that is linked, donor first, counted within the server."""
    lends: bool = True

    @property
    def all_gpus(self) -> int:
        """Of all servers."""
        return self.servers * self.gpus

    def rate(self, donor: int, borrower: int) -> float | None:
        """Bytes a second from `donor` to `borrower`, counted within their server; None if there is no link."""
        if donor == borrower:
            return None
        return self.link_bytes_per_s if self.rates is None else self.rates.get((donor, borrower))

    def linked(self, one: int, other: int) -> bool:
        """Whether two GPUs reach each other, both ways."""
        return self.rate(one, other) is not None and self.rate(other, one) is not None


def fleet_of(node: Node, *, servers: int = 1, headroom_bytes: int = 0, lends: bool = True) -> Fleet:
    """Servers like `node`; `headroom_bytes` of each GPU are left alone."""
    return Fleet(
        servers=servers,
        gpus=node.gpus,
        memory_bytes=max(0, node.sheet.memory_bytes - headroom_bytes),
        link_bytes_per_s=node.sheet.nvlink_bytes_per_s if node.gpus > 1 else None,
        lends=lends,
    )
