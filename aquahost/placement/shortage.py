"""Why models do not fit: what is short, by how much, and what would make them fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aquahost.errors import ConfigError
from aquahost.placement.first_fit import left_over
from aquahost.placement.fleet import Fleet
from aquahost.placement.parts import SHARE_UNIT, Part, room_units
from aquahost.placement.remedies import remedies
from aquahost.units import MIB, format_bytes


def refuse_impossible(parts: Sequence[Part], fleet: Fleet) -> None:
    """Raise ConfigError, a line for each model that fits nowhere, or for what all of them together lack."""
    lines = [line for part in parts if part.replica == 0 for line in _alone(part, parts, fleet)]
    if not lines:
        lines = list(_together(parts, fleet))
    if lines:
        raise ConfigError("\n".join(lines))


def does_not_fit(parts: Sequence[Part], fleet: Fleet) -> ConfigError:
    """Of models that would fit in sum, but not on single GPUs: which is left over, and what it lacks there."""
    left = left_over(parts, fleet)
    if left is None:
        return not_found()
    out, need = left.part, left.part.need
    free_bytes = left.most_free * MIB
    short_bytes = need.floor_bytes - free_bytes
    if short_bytes > 0:
        why = (
            f"needs {format_bytes(need.floor_bytes)} of {_each(out)} ({_sizes(out)}); beside the others at most "
            f"{format_bytes(free_bytes)} are free on one: {format_bytes(short_bytes)} short"
        )
    elif out.share > left.most_time:
        why = f"needs {_each(out)} with {out.share / SHARE_UNIT:.0%} of the time free, and beside the others none has"
    elif out.group > 1:
        why = (
            f"needs {_each(out)} of one server, all linked with each other and with room for it beside the others; "
            "there are none"
        )
    else:
        why = "finds no GPU that it may be on with room for it beside the others"
    return ConfigError("\n".join([f"models.{need.name}: {why}", *_would_help(parts, fleet, out)]))


def not_found() -> ConfigError:
    """Where the search ended without a placement, and without proof that there is none."""
    return ConfigError(
        "models: no placement was found within the search's limit; there may be one\n"
        "it would be easier to find with: some models pinned with gpu:; fewer models; or GPUs with more memory"
    )


def _alone(part: Part, parts: Sequence[Part], fleet: Fleet) -> Iterator[str]:
    """What keeps it from any GPU, whatever the others are."""
    need, room = part.need, room_units(fleet.memory_bytes)
    key = f"models.{need.name}"
    if part.pin is not None and part.pin >= fleet.all_gpus:
        there = "only 0" if fleet.all_gpus == 1 else f"0 to {fleet.all_gpus - 1}"
        yield f"{key}.gpu: GPU {part.pin} does not exist; there is {there}"
    if part.group > fleet.gpus:
        yield f"{key}.tensor_parallel: {part.group} GPUs of one server; a server has {fleet.gpus}"
    elif part.group * need.replicas > fleet.servers * (fleet.gpus // part.group) * part.group:
        asked = f"{need.replicas} replicas on {_gpus(part.group)} each need {_gpus(part.group * need.replicas)}"
        yield f"{key}.replicas: {asked}; there are {fleet.all_gpus}"
    if part.floor > room:
        short_bytes = need.floor_bytes - fleet.memory_bytes
        yield (
            f"{key}: needs {format_bytes(need.floor_bytes)} of {_each(part)} ({_sizes(part)}); one has "
            f"{format_bytes(fleet.memory_bytes)} for models: {format_bytes(max(short_bytes, MIB))} short"
        )
        yield from _would_help(parts, fleet, part)


def _together(parts: Sequence[Part], fleet: Fleet) -> Iterator[str]:
    """What the sums of all lack."""
    needed = sum(part.group * part.floor for part in parts)
    there = fleet.all_gpus * room_units(fleet.memory_bytes)
    if needed > there:
        have = "has" if fleet.all_gpus == 1 else "have"
        yield (
            f"models: {format_bytes(needed * MIB)} for weights, activations and the least KV of all; "
            f"{_gpus(fleet.all_gpus)} {have} {format_bytes(there * MIB)}: {format_bytes((needed - there) * MIB)} short"
        )
    time = sum(part.group * part.share for part in parts) / SHARE_UNIT
    if time > fleet.all_gpus:
        yield (
            f"models: their traffic takes the time of {time:.1f} GPUs; there are {fleet.all_gpus}: "
            f"{time - fleet.all_gpus:.1f} short"
        )
    if needed > there or time > fleet.all_gpus:
        largest = max(parts, key=lambda part: part.floor)
        yield from _would_help(parts, fleet, largest)


def _would_help(parts: Sequence[Part], fleet: Fleet, short: Part) -> Iterator[str]:
    ways = list(remedies(parts, fleet, short))
    if ways:
        yield f"it would fit with: {'; or '.join(ways)}"


def _sizes(part: Part) -> str:
    need = part.need
    kv = f"KV {format_bytes(need.floor_bytes - need.weights_bytes - need.peak_bytes)}"
    sizes = [f"weights {format_bytes(need.weights_bytes)}", f"activations {format_bytes(need.peak_bytes)}"]
    return ", ".join([*sizes, kv] if need.floor_bytes > need.weights_bytes + need.peak_bytes else sizes)


def _each(part: Part) -> str:
    return "a GPU" if part.group == 1 else f"each of {part.group} GPUs"


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
