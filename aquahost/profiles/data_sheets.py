"""What vendors say of their GPUs: memory, arithmetic, links."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from aquahost.errors import ConfigError

_NODE = re.compile(r"^(?:([+-]?\d+)\s*[xX*]\s*)?([A-Za-z0-9 _-]+)$")
_MOST_GPUS = 1024
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSheet:
    """One GPU. Rates are each way, and what links give in practice, not what is printed, where that is known."""

    name: str
    memory_bytes: int
    """Of HBM, as the driver reports it."""
    memory_bytes_per_s: float
    flops: float
    """Dense operations a second in bfloat16."""
    nvlink_bytes_per_s: float
    """To all other GPUs of the node together, each way."""
    pcie_bytes_per_s: float
    """To host memory, each way."""
    nvlink_latency_s: float = 10e-6
    pcie_latency_s: float = 15e-6


_GB = 10**9

SHEETS: dict[str, DataSheet] = {
    sheet.name: sheet
    for sheet in (
        DataSheet(name="A100-40GB", memory_bytes=40 * _GB, memory_bytes_per_s=1.555e12, flops=312e12,
                  nvlink_bytes_per_s=300e9, pcie_bytes_per_s=32e9),
        DataSheet(name="A100", memory_bytes=80 * _GB, memory_bytes_per_s=2.039e12, flops=312e12,
                  nvlink_bytes_per_s=300e9, pcie_bytes_per_s=32e9),
        DataSheet(name="H100", memory_bytes=80 * _GB, memory_bytes_per_s=3.35e12, flops=989e12,
                  nvlink_bytes_per_s=450e9, pcie_bytes_per_s=64e9),
        DataSheet(name="H200", memory_bytes=141 * _GB, memory_bytes_per_s=4.8e12, flops=989e12,
                  nvlink_bytes_per_s=450e9, pcie_bytes_per_s=64e9),
        DataSheet(name="B200", memory_bytes=192 * _GB, memory_bytes_per_s=8.0e12, flops=2250e12,
                  nvlink_bytes_per_s=900e9, pcie_bytes_per_s=64e9),
    )
}  # fmt: skip
"""By name; SXM modules in an NVSwitch node. From NVIDIA's data sheets of A100 (2021), H100 (2023), H200 and B200
(2024): dense bfloat16, NVLink and PCIe bandwidths halved to one way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A server with equal GPUs, each linked to every other one."""

    gpus: int
    sheet: DataSheet

    @property
    def name(self) -> str:
        """As `--gpus` takes it."""
        return f"{self.gpus}x{self.sheet.name}"


def data_sheet(name: str) -> DataSheet:
    """The GPU of that name, in any case. Raises ConfigError that names the nearest one and all there are."""
    wanted = name.strip().upper()
    for known, sheet in SHEETS.items():
        if known.upper() == wanted:
            return sheet
    near = difflib.get_close_matches(wanted, [known.upper() for known in SHEETS], n=1)
    hint = f"; did you mean {near[0]}? There" if near else "; there"
    raise ConfigError(f"no data sheet of a GPU {name!r}{hint} are {', '.join(SHEETS)}")


def parse_node(text: str) -> Node:
    """A node from text like "8xH100" or "H200". Raises ConfigError."""
    match = _NODE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} names no GPUs; write a number and a name, like 8xH100")
    digits = (match[1] or "1").removeprefix("+")
    gpus = int(digits) if len(digits) <= _MOST_DIGITS else 0
    if not 1 <= gpus <= _MOST_GPUS:
        raise ConfigError(f"{text!r}: a node has 1 to {_MOST_GPUS} GPUs")
    return Node(gpus=gpus, sheet=data_sheet(match[2]))
