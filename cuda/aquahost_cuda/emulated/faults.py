"""Faults of a node, changeable while its processes run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

from aquahost_cuda.emulated.node import EmulatedNode, Faults

_FILE = "faults.json"


def inject(path: str, faults: Faults) -> None:
    """Give the node in folder `path` these faults, and no others, in every process that has it open."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    temporary = os.path.join(path, f"{_FILE}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(asdict(faults), file)
    os.replace(temporary, os.path.join(path, _FILE))


class FaultBoard:
    """The faults that hold now: those injected last, else the node's own."""

    def __init__(self, node: EmulatedNode) -> None:
        self._path = os.path.join(node.path, _FILE)
        self._stamp: tuple[int, int] | None = None
        self._faults = node.faults

    def current(self) -> Faults:
        """Costs a stat, and a read where the file has changed."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return self._faults
        stamp = (status.st_ino, status.st_mtime_ns)
        if stamp != self._stamp:
            with open(self._path, encoding="utf-8") as file:
                self._faults = Faults.from_fields(json.load(file))
            self._stamp = stamp
        return self._faults
