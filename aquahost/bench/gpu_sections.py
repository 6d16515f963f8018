"""`python -m aquahost.bench.gpu_sections SECTION`: one section of the check of a GPU, as JSON, in a process of its own.

A call that hangs, or an error that sticks to a context, ends with that process.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from aquahost.bench.block_copies import BLOCK_BYTES, PROMPT_BLOCKS, measure_block_copies
from aquahost.bench.copy_rates import measure_copy_rates
from aquahost.bench.figures import Figure
from aquahost.bench.vmm_costs import measure_vmm_costs
from aquahost.units import GIB, KIB, MIB

if TYPE_CHECKING:
    from aquahost_cuda.driver import Driver
    from aquahost_cuda.vmm import Location

MEASURES = ("vmm", "copies", "blocks")
"""The sections that measure; "about" says what there is to measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured: much on a GPU, little where the point is to run the code."""

    chunk_sizes_bytes: tuple[int, ...]
    copy_sizes_bytes: tuple[int, ...]
    blocks: int
    chunk_bytes: int

    def fitted(self, room_bytes: int) -> Scale:
        """As much of it as fits where GPU 0 and each place have so much free memory.

        At most a quarter of it is one chunk or one copy, and half is blocks, of which GPU 0 may hold each 2.25 times:
        once with a quarter more room around them, once in one piece.
        """
        return Scale(
            chunk_sizes_bytes=_up_to(room_bytes // 4, self.chunk_sizes_bytes),
            copy_sizes_bytes=_up_to(room_bytes // 4, self.copy_sizes_bytes),
            blocks=max(1, min(self.blocks, room_bytes // 2 * 4 // 9 // BLOCK_BYTES)),
            chunk_bytes=max(BLOCK_BYTES, min(self.chunk_bytes, room_bytes // 8 // BLOCK_BYTES * BLOCK_BYTES)),
        )


ON_GPU = Scale(
    chunk_sizes_bytes=(2 * MIB, 16 * MIB, 64 * MIB, 256 * MIB),
    copy_sizes_bytes=(64 * KIB, 512 * KIB, 4 * MIB, 32 * MIB, 512 * MIB),
    blocks=PROMPT_BLOCKS,
    chunk_bytes=64 * MIB,
)
_EMULATED = Scale(
    chunk_sizes_bytes=(2 * MIB, 16 * MIB), copy_sizes_bytes=(64 * KIB, 4 * MIB), blocks=16, chunk_bytes=2 * MIB
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one JSON object; or one line on standard error, and return 1."""
    asked = _parser().parse_args(arguments)
    try:
        driver = _load(asked)
        found = _about(driver) if asked.section == "about" else _measured(driver, asked)
    except Exception as error:  # whatever it was, the other sections are still worth having
        sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
        return 1
    json.dump(found, sys.stdout)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu_sections", description="One section of the check of a GPU.")
    parser.add_argument("section", choices=["about", *MEASURES])
    parser.add_argument("--driver", choices=["cuda", "emulated"], required=True)
    parser.add_argument("--partition", type=int, required=True, metavar="N", help="show each GPU as N smaller ones")
    parser.add_argument("--folder", required=True, help="for the record of who holds what")
    return parser


def _load(asked: argparse.Namespace) -> Driver:
    from aquahost_cuda.driver import EmulatedNode, load

    emulated = asked.driver == "emulated"
    node = EmulatedNode(path=f"{asked.folder}/node", gpus=1, gpu_bytes=8 * GIB) if emulated else None
    return load(asked.driver, node, asked.partition, f"{asked.folder}/parts")


def _about(driver: Driver) -> dict[str, Any]:
    from aquahost_cuda.check import call
    from aquahost_cuda.device import read_identity
    from aquahost_cuda.driver import physical_index

    return {
        "gpu": read_identity(driver, 0)[1].split(" (part", 1)[0],
        "gpus": physical_index(driver, call(driver.cuDeviceGetCount) - 1) + 1,
        "driver_version": int(call(driver.cuDriverGetVersion)),
        "not_run": _places(driver)[1],
    }


def _measured(driver: Driver, asked: argparse.Namespace) -> list[dict[str, Any]]:
    places, _ = _places(driver)
    scale = (ON_GPU if asked.driver == "cuda" else _EMULATED).fitted(_room_bytes(driver, places))
    measures: dict[str, Callable[[], list[Figure]]] = {
        "vmm": lambda: measure_vmm_costs(driver, places, scale.chunk_sizes_bytes),
        "copies": lambda: measure_copy_rates(driver, places, scale.copy_sizes_bytes),
        "blocks": lambda: measure_block_copies(driver, places, scale.blocks, scale.chunk_bytes),
    }
    return [asdict(figure) for figure in measures[asked.section]()]


def _places(driver: Driver) -> tuple[dict[str, Location], list[str]]:
    """Where GPU 0 can have memory beside its own, and what of that it can't."""
    from aquahost_cuda.check import DriverError, call
    from aquahost_cuda.driver import physical_index
    from aquahost_cuda.vmm import Location, granularity

    places, lacking = {}, []
    if call(driver.cuDeviceGetCount) > 1 and call(driver.cuDeviceCanAccessPeer, 0, 1):
        same = physical_index(driver, 0) == physical_index(driver, 1)
        places["another part of the same GPU" if same else "a neighbour"] = Location.device(1)
    else:
        lacking.append("copies to a neighbour: GPU 0 reaches no other GPU, and --partition makes none")
    try:
        granularity(driver, Location.host())
        places["the host"] = Location.host()
    except DriverError as error:
        lacking.append(f"copies to the host: {error}")
    return places, lacking


def _room_bytes(driver: Driver, places: dict[str, Location]) -> int:
    """Free memory of GPU 0 or of its neighbour, whichever has less."""
    from aquahost_cuda.device import read_gpus
    from aquahost_cuda.vmm import Kind

    used = {0} | {place.index for place in places.values() if place.kind is Kind.DEVICE}
    return min(reading.free_bytes for reading in read_gpus(driver) if reading.index in used)


def _up_to(most_bytes: int, sizes_bytes: Sequence[int]) -> tuple[int, ...]:
    """Those that are no larger, or the smallest."""
    return tuple(nbytes for nbytes in sizes_bytes if nbytes <= most_bytes) or (min(sizes_bytes),)


if __name__ == "__main__":
    sys.exit(main())
