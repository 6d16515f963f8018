"""The hardware, looked at by a process of its own: a driver that hangs or crashes takes nobody along."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from aquahost.child_process import TooSlowError, run_bounded
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
    """Open the driver, and test and measure every link anew. An emulated node is one of its own. Raises ProbeError,
    within bounds also where the driver never answers.
    """
    # A probe that can't be killed may go on writing there.
    with tempfile.TemporaryDirectory(prefix="aquahost-doctor.", ignore_cleanup_errors=True) as folder:
        node = {"path": folder, **host.emulated.model_dump()}
        # -P: a folder named aquahost_cuda where the user stands is not ours.
        line = [sys.executable, "-P", "-m", "aquahost_cuda.probe", "--driver", host.driver]
        line += ["--node", msgspec.json.encode(node).decode(), "--partition", str(host.partition)]
        try:
            done = run_bounded(line, env=env, limit_s=_PATIENCE_S)
        except TooSlowError as error:
            raise ProbeError(f"the driver gives {error}") from error
        except OSError as error:
            raise ProbeError(f"the probe could not be started: {error}") from error
    if done.returncode != 0:
        raise ProbeError(_last_words(done.stderr) or f"the probe ended with status {done.returncode}")
    try:
        return msgspec.json.decode(done.stdout, type=Hardware)
    except msgspec.MsgspecError as error:
        raise ProbeError(f"the probe's answer makes no sense ({error})") from error


def _last_words(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return one_line(lines[-1])[:_MOST_WORDS] if lines else ""
