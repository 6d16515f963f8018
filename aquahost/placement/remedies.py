"""What would make models fit that do not; each way is tried before it is offered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from aquahost.placement.first_fit import divide_quickly
from aquahost.placement.fleet import Fleet
from aquahost.placement.needs import Need
from aquahost.placement.parts import Part, parts_of
from aquahost.profiles.data_sheets import SHEETS
from aquahost.units import MIB, format_bytes

_MOST_MORE = 8
_MOST_GROUP = 8


def remedies(parts: Sequence[Part], fleet: Fleet, short: Part) -> Iterator[str]:
    """Ways to have all parts fit, the cheapest first; `short` is the one that lacks most."""
    needs = list({part.need.name: part.need for part in parts}.values())
    yield from _less_kv(needs, fleet, short.need)
    yield from _wider_group(needs, fleet, short.need)
    yield from _more_gpus(needs, fleet)
    yield from _larger_gpus(needs, fleet)


def _less_kv(needs: Sequence[Need], fleet: Fleet, short: Need) -> Iterator[str]:
    """The largest kv_bytes with which it fits, in whole GiB or MiB."""
    if short.kv_bytes is None:
        return
    room_bytes = fleet.memory_bytes - short.weights_bytes - short.peak_bytes
    step_bytes = MIB * 1024 if room_bytes > 8 * MIB * 1024 else MIB
    kv_bytes = min(short.kv_bytes, max(0, room_bytes)) // step_bytes * step_bytes
    while kv_bytes >= max(step_bytes, short.kv_least_bytes):
        if _fits(needs, fleet, replace(short, kv_bytes=kv_bytes)):
            yield f"kv_bytes: {format_bytes(kv_bytes).replace(' ', '')} of {short.name}"
            return
        kv_bytes = min(kv_bytes - step_bytes, kv_bytes * 3 // 4 // step_bytes * step_bytes)


def _wider_group(needs: Sequence[Need], fleet: Fleet, short: Need) -> Iterator[str]:
    """Weights and the KV of its traffic are divided evenly among a group, about; what its entry says of KV is of each
    GPU, whatever the group."""
    if short.kind != "llm" or short.gpu is not None:
        return
    group = 2 * short.group
    while group <= min(fleet.gpus, _MOST_GROUP):
        share = short.group / group
        wider = replace(
            short,
            group=group,
            weights_bytes=round(short.weights_bytes * share),
            kv_least_bytes=round(short.kv_least_bytes * share),
            kv_wanted_bytes=round(short.kv_wanted_bytes * share),
        )
        if _fits(needs, fleet, wider):
            yield f"tensor_parallel: {group} of {short.name}"
            return
        group *= 2


def _more_gpus(needs: Sequence[Need], fleet: Fleet) -> Iterator[str]:
    """More GPUs in the one server, or more servers."""
    for more in range(1, _MOST_MORE + 1):
        if fleet.servers == 1:
            larger, what = replace(fleet, gpus=fleet.gpus + more, rates=None), "GPU"
        else:
            larger, what = replace(fleet, servers=fleet.servers + more), "server"
        if _fits(needs, larger):
            yield f"{more} more {what}{'s' if more > 1 else ''}"
            return


def _larger_gpus(needs: Sequence[Need], fleet: Fleet) -> Iterator[str]:
    """The smallest of those whose data sheets there are."""
    for sheet in sorted(SHEETS.values(), key=lambda sheet: sheet.memory_bytes):
        larger = sheet.memory_bytes > fleet.memory_bytes
        if larger and _fits(needs, replace(fleet, memory_bytes=sheet.memory_bytes)):
            yield f"GPUs of {sheet.memory_bytes // 10**9} GB ({sheet.name})"
            return


def _fits(needs: Sequence[Need], fleet: Fleet, changed: Need | None = None) -> bool:
    """Whether a simple way places all, one of them changed."""
    after = [changed if changed is not None and need.name == changed.name else need for need in needs]
    parts = parts_of(after)
    pinned = all(part.pin is None or part.pin < fleet.all_gpus for part in parts)
    return pinned and divide_quickly(parts, fleet) is not None
