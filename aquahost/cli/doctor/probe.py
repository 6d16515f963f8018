"""The hardware, looked at by a process of its own: a driver that hangs or crashes takes nobody along."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from aquahost.cli.doctor.report import Hardware
from aquahost.cli.output import one_line
from aquahost.errors import AquahostError

if TYPE_CHECKING:
    from aquahost.config.settings import HostSettings

_PATIENCE_S = 180.0
_MOST_WORDS = 500


class ProbeError(AquahostError):
    """The hardware cannot be looked at; the text says why."""


def probe(host: HostSettings, env: Mapping[str, str]) -> Hardware:
    """Open the driver, and test and measure every link anew. An emulated node is one of its own. Raises ProbeError."""
    with tempfile.TemporaryDirectory(prefix="aquahost-doctor.") as folder:
        node = {"path": folder, **host.emulated.model_dump()}
        line = [sys.executable, "-m", "aquahost_cuda.probe", "--driver", host.driver]
        line += ["--node", msgspec.json.encode(node).decode(), "--partition", str(host.partition)]
        try:
            done = subprocess.run(line, env=dict(env), capture_output=True, timeout=_PATIENCE_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise ProbeError(f"the driver does not answer within {_PATIENCE_S:.0f} s") from error
    if done.returncode != 0:
        raise ProbeError(_last_words(done.stderr) or f"the probe ended with status {done.returncode}")
    try:
        return msgspec.json.decode(done.stdout, type=Hardware)
    except msgspec.MsgspecError as error:
        raise ProbeError(f"the probe's answer makes no sense ({error})") from error


def _last_words(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return one_line(lines[-1])[:_MOST_WORDS] if lines else ""
