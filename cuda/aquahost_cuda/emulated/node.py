"""What the emulated driver pretends to be: a node of GPUs, its links and its faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOST = -1
"""Stands for host memory where GPUs are numbered 0, 1, ..."""
MAX_GPUS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowLink:
    """A directed link that runs below its rate."""

    source: int
    """GPU number, or HOST."""
    target: int
    factor: float
    """The rate is divided by this; above 1 is slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What is broken. Pairs are (GPU that reaches out, GPU whose memory is reached)."""

    lost_gpus: tuple[int, ...] = ()
    """Every use of these GPUs answers CUDA_ERROR_DEVICE_UNAVAILABLE."""
    no_peer_access: tuple[tuple[int, int], ...] = ()
    corrupt_peer_access: tuple[tuple[int, int], ...] = ()
    """Access is advertised, but copies arrive with wrong bytes."""
    slow_links: tuple[SlowLink, ...] = ()

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Faults:
        """Faults from plain values, as JSON has them. Raises TypeError or ValueError where they are none."""
        known: dict[str, Any] = {
            "lost_gpus": tuple(fields.get("lost_gpus", ())),
            "no_peer_access": tuple((gpu, peer) for gpu, peer in fields.get("no_peer_access", ())),
            "corrupt_peer_access": tuple((gpu, peer) for gpu, peer in fields.get("corrupt_peer_access", ())),
            "slow_links": tuple(SlowLink(**link) for link in fields.get("slow_links", ())),
        }
        return cls(**{**fields, **known})


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedNode:
    """A node of equal GPUs, each linked to each other and to the host. All processes that open one share its GPUs."""

    path: str
    """Folder for the record of who holds how much, and until when links are busy; the same for all processes of a
    run."""
    gpus: int = 8
    gpu_bytes: int = 1 << 30
    """Memory of each GPU; host memory is used only as it is written."""
    peer_bytes_per_s: float = 9.0e9
    """Rate of each directed link between two GPUs."""
    peer_latency_s: float = 10e-6
    host_bytes_per_s: float = 0.9e9
    """Rate of each GPU's link to host memory, each way."""
    host_latency_s: float = 15e-6
    faults: Faults = Faults()
    """Faults from the start; `faults.inject` changes them while processes run."""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("an emulated node needs a folder (path) for its records")
        if not 1 <= self.gpus <= MAX_GPUS:
            raise ValueError(f"gpus is {self.gpus}; an emulated node has 1 to {MAX_GPUS}")
        if self.gpu_bytes < 0:
            raise ValueError(f"gpu_bytes is {self.gpu_bytes}; it can't be negative")
        if min(self.peer_bytes_per_s, self.host_bytes_per_s) <= 0:
            raise ValueError("link rates must be above 0 bytes per second")
        if min(self.peer_latency_s, self.host_latency_s) < 0:
            raise ValueError("link latencies can't be negative")

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> EmulatedNode:
        """A node from plain values, as JSON has them. Raises TypeError or ValueError where they are none."""
        return cls(**{**fields, "faults": Faults.from_fields(fields.get("faults", {}))})
