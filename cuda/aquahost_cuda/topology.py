"""Which GPUs there are, which of them reach each other and how fast, as found once and kept in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU, whichever number it has."""

    index: int
    uuid: str
    name: str
    total_bytes: int
    lost: str | None = None
    """Why it can't be used; None if it can."""
    nvlinks: int | None = None
    """NVLinks that are up; None where NVML does not know the GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The way of bytes from one place to another: GPU numbers, or HOST."""

    source: int
    target: int
    usable: bool
    """The same in both directions: a GPU that lends memory is written to and read from."""
    reason: str
    """Why it is not usable, or what it is."""
    bytes_per_s: float
    """Measured, the slower of writing to the target and of reading from the source; 0 where it is not usable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The GPUs that one driver shows, and a link for each ordered pair of them, and of a GPU and the host."""

    driver: str
    """"cuda" or "emulated"."""
    driver_version: int
    """1000 times the major version of CUDA that the driver supports, plus 10 times the minor."""
    boot_id: str
    """Of this run of the machine's kernel; empty where it is hidden."""
    gpus: tuple[Gpu, ...]
    links: tuple[Link, ...]

    def key(self) -> tuple[Any, ...]:
        """What is the same as long as its links can be taken to be."""
        return self.driver, self.driver_version, self.boot_id, [gpu.uuid for gpu in self.gpus]


def store(topology: Topology, path: Path) -> None:
    """Write a topology to a file, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps({"format": _FORMAT, **asdict(topology)}), encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def recall(path: Path, key: tuple[Any, ...]) -> Topology | None:
    """The topology in a file, if it has this key; None if it has another, or the file is missing or damaged."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        topology = _parse(fields) if fields["format"] == _FORMAT else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return topology if topology is not None and topology.key() == key else None


def _parse(fields: Mapping[str, Any]) -> Topology:
    gpus = tuple(Gpu(**gpu) for gpu in fields["gpus"])
    links = tuple(Link(**link) for link in fields["links"])
    for gpu in gpus:
        _demand_types(asdict(gpu))
    for link in links:
        _demand_types(asdict(link))
    return Topology(
        driver=fields["driver"],
        driver_version=fields["driver_version"],
        boot_id=fields["boot_id"],
        gpus=gpus,
        links=links,
    )


def _demand_types(fields: Mapping[str, Any]) -> None:
    """Raise TypeError if a file put something else where a number or a text belongs."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "usable": bool,
        "bytes_per_s": (int, float),
        "lost": (str, type(None)),
        "nvlinks": (int, type(None)),
    }
    for name, value in fields.items():
        kind = kinds.get(name, str if name in ("uuid", "name", "reason") else int)
        if not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r}")
