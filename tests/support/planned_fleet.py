"""Needs and fleets in whole GiB, and the best plan of tiny ones by trying all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from aquahost.placement.fleet import Fleet
from aquahost.placement.needs import Need
from aquahost.placement.plan import Plan

GIB = 1 << 30


def need(
    name: str = "m",
    weights: int = 1,
    *,
    wanted: int = 0,
    least: int = 0,
    kv: int | None = None,
    borrow: int | None = None,
    group: int = 1,
    replicas: int = 1,
    gpu: int | None = None,
    time: float = 0.0,
) -> Need:
    """A model; sizes in GiB of each GPU."""
    return Need(
        name=name,
        group=group,
        replicas=replicas,
        gpu=gpu,
        weights_bytes=weights * GIB,
        peak_bytes=0,
        kv_bytes=None if kv is None else kv * GIB,
        kv_least_bytes=least * GIB,
        kv_wanted_bytes=max(least, wanted) * GIB,
        borrow_most_bytes=None if borrow is None else borrow * GIB,
        utilisation=time,
    )


def fleet(gpus: int = 2, memory: int = 10, *, servers: int = 1, lends: bool = True) -> Fleet:
    """GPUs of so many GiB, all linked."""
    return Fleet(
        servers=servers,
        gpus=gpus,
        memory_bytes=memory * GIB,
        link_bytes_per_s=1e9 if gpus > 1 else None,
        lends=lends,
    )


def placements(needs: Sequence[Need], where: Fleet) -> Iterator[list[tuple[int, ...]]]:
    """All ways to place replicas so that they fit, in the order of needs."""
    replicas = [one for one in needs for _ in range(one.replicas)]
    servers = [range(s * where.gpus, (s + 1) * where.gpus) for s in range(where.servers)]
    choices = [[c for s in servers for c in itertools.combinations(s, one.group)] for one in replicas]
    for way in itertools.product(*choices):
        if fits(replicas, way, where):
            yield list(way)


def fits(replicas: Sequence[Need], way: Sequence[tuple[int, ...]], where: Fleet) -> bool:
    """Whether memory and time suffice, pins are kept and replicas are apart."""
    for gpu in range(where.all_gpus):
        here = [one for one, gpus in zip(replicas, way, strict=True) if gpu in gpus]
        if sum(max(one.floor_bytes, one.taken_bytes) for one in here) > where.memory_bytes:
            return False
        if sum(min(1.0, one.utilisation) for one in here) > 1 + 1e-9 or len({one.name for one in here}) < len(here):
            return False
    return all(one.gpu is None or one.gpu in gpus for one, gpus in zip(replicas, way, strict=True))


def unmet_gib(replicas: Sequence[Need], way: Sequence[tuple[int, ...]], where: Fleet) -> list[int]:
    """By server, where all KV may lie on any GPU of it: what is asked for beyond its memory."""
    unmet = []
    for server in range(where.servers):
        here = [one for one, gpus in zip(replicas, way, strict=True) if gpus[0] // where.gpus == server]
        asked = sum(one.group * (one.taken_bytes + one.flexible_bytes) for one in here)
        unmet.append(max(0, asked - where.gpus * where.memory_bytes) // GIB)
    return unmet


def sharing(way: Sequence[tuple[int, ...]]) -> int:
    """Parts beyond the first on each GPU."""
    used = [gpu for gpus in way for gpu in gpus]
    return len(used) - len(set(used))


def aqua_gib(replicas: Sequence[Need], way: Sequence[tuple[int, ...]], where: Fleet) -> float:
    """AQUA's objective, spelled out anew."""
    memory, counts = [], []
    for server in range(where.servers):
        here = [one for one, gpus in zip(replicas, way, strict=True) if gpus[0] // where.gpus == server]
        room = [(one.group, one.signed_bytes(where.memory_bytes)) for one in here]
        memory.append(sum(group * size for group, size in room))
        counts.append(sum(group * ((size > 0) - (size < 0)) for group, size in room))
    return (max(memory) + 80 * 10**9 // 2**20 * 2**20 * max(counts)) / GIB


def places(plan: Plan) -> list[tuple[int, ...]]:
    """The GPUs of each replica of a plan."""
    return [model.gpus for model in plan.models]
