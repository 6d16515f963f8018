"""`python -m aquahost_cuda.probe`: print the topology of this machine, from a process that keeps no context."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aquahost_cuda.check import DriverError
from aquahost_cuda.discovery import discover
from aquahost_cuda.driver import DriverUnavailableError, EmulatedNode, load, why_not_cuda
from aquahost_cuda.hints import collect_hints


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one JSON object: the fields of a Topology, `hints` and `why_not_cuda`. Returns the exit status.

    That is 1, with one line on standard error, where there is no driver or its GPUs can't be found.
    """
    asked = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="aquahost-probe.") as folder:
            driver = load(asked.driver, asked.node, asked.partition, asked.partition_path or folder)
            found = asdict(discover(driver, asked.cache)) | {
                "hints": collect_hints(driver),
                "why_not_cuda": why_not_cuda(driver),
            }
    except (DriverUnavailableError, DriverError, OSError, ValueError) as error:
        sys.stderr.write(f"no topology: {' '.join(str(error).split())}\n")
        return 1
    json.dump(found, sys.stdout)
    sys.stdout.write("\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aquahost_cuda.probe", description="Print the topology as JSON.")
    parser.add_argument("--driver", choices=["auto", "cuda", "emulated"], default="auto")
    parser.add_argument("--node", type=_node, metavar="JSON", help="the node to emulate: fields of EmulatedNode")
    parser.add_argument("--cache", type=Path, metavar="PATH", help="file for what is found on real GPUs")
    parser.add_argument("--partition", type=int, default=1, metavar="N", help="show each GPU as N smaller ones")
    parser.add_argument("--partition-path", metavar="PATH", help="folder of the run's record of who holds what")
    return parser


def _node(text: str) -> EmulatedNode:
    try:
        fields: dict[str, Any] = json.loads(text)
        return EmulatedNode.from_fields(fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"no node: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
