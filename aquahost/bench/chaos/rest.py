"""What a daemon must look like when nobody asks it for anything: nothing left over from what was done to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from aquahost.bench.chaos.host import ChaosHost, at_rest
from aquahost.bench.chaos.processes import descriptors_of
from aquahost.bench.chaos.report import Check, none_of
from aquahost.messages.snapshot import ModelState, Snapshot

SETTLE_S = 30.0
"""How long a daemon gets to end its prompts and to take back its leases."""
_READINGS_S = 2.5
"""GPUs are read once a second; what was taken for others' memory while models worked is forgotten by then."""
_LOOKS = 8
"""At descriptors, meanwhile."""
_SIGNS = (" ERROR ", " CRITICAL ", "Traceback (most recent call last)")


@dataclass(frozen=True, slots=True)
class Rest:
    """What a daemon holds while it is at rest."""

    descriptors: Counter[str]
    """Open ones, by kind."""
    other_bytes: dict[int, int]
    """By GPU: memory in use that no model accounts for."""
    errors: int
    """Lines of its log that tell of its own faults."""


async def come_to_rest(host: ChaosHost) -> Rest:
    """Wait until nothing lives and nothing is lent, at most SETTLE_S, and look."""
    await host.seen(at_rest, SETTLE_S)
    # What is open at every look: the connection that we asked by may take a moment to be gone.
    descriptors = descriptors_of(host.pid)
    for _ in range(_LOOKS):
        await asyncio.sleep(_READINGS_S / _LOOKS)
        descriptors &= descriptors_of(host.pid)
    others = {gpu.index: gpu.other_bytes for gpu in (await host.snapshot()).gpus}
    return Rest(descriptors, others, len(errors_in(host.log)))


async def checks_at_rest(host: ChaosHost, first: Rest) -> list[Check]:
    """To be asked once the daemon should be at rest. `first`: when it was for the first time, the same daemon or one
    that was begun in its place."""
    now = await come_to_rest(host)
    snapshot = await host.snapshot()
    not_ready = [f"{one.name} is {one.state}" for one in snapshot.models if one.state is not ModelState.READY]
    more = now.descriptors - first.descriptors
    errors = errors_in(host.log)[first.errors :]
    return [
        none_of("models not ready", not_ready),
        none_of("live prompts", [f"{one.id} of {one.model} is {one.state}" for one in snapshot.prompts]),
        none_of("leases", [f"{one.id}: GPU {one.donor} to {one.borrower}" for one in snapshot.leases]),
        none_of("memory that nobody accounts for", _more_of_others(first, now)),
        none_of("problems by /healthz, the ledger's among them", await host.health()),
        Check(name="open descriptors gained", found=more.total(), details=[f"{kind}: {more[kind]}" for kind in more]),
        none_of("processes of nobody", _strays(host, snapshot)),
        none_of("errors in the daemon's log", errors),
    ]


def errors_in(log: Path) -> list[str]:
    """The lines of a daemon's log that tell of a fault of its own."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [line for line in lines if any(sign in line for sign in _SIGNS)]


def _more_of_others(first: Rest, now: Rest) -> list[str]:
    gained = {gpu: nbytes - first.other_bytes.get(gpu, 0) for gpu, nbytes in now.other_bytes.items()}
    return [f"GPU {gpu}: {nbytes} bytes" for gpu, nbytes in gained.items() if nbytes > 0]


def _strays(host: ChaosHost, snapshot: Snapshot) -> list[str]:
    """Processes that are neither the daemon nor of a worker's group."""
    groups = {model.pid for model in snapshot.models}
    return [f"process {pid}" for pid, group in host.processes().items() if pid != host.pid and group not in groups]
