"""A command that is waited for within bounds, whatever becomes of it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_LAST_WAIT_S = 5.0


class TooSlowError(Exception):
    """A command did not end in time, and was killed; the text says how long it had, and whether it still lives."""


def run_bounded(
    line: Sequence[str], *, env: Mapping[str, str], limit_s: float, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command without input to its end; its output is bytes.

    Raises OSError, or TooSlowError after `limit_s` and a moment more: a process that sleeps in a driver does not even
    die when it is killed, and one that left children behind may never close its output. Neither is waited for.
    """
    pipe = subprocess.PIPE
    process = subprocess.Popen(line, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    try:
        output, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        lives = "" if _end(process) else f"; process {process.pid} does not even end when it is killed"
        raise TooSlowError(f"no answer within {limit_s:g} s{lives}") from None
    except BaseException:
        _end(process)
        raise
    return subprocess.CompletedProcess(list(line), process.returncode, output, errors)


def _end(process: subprocess.Popen[bytes]) -> bool:
    """Kill a process; returns whether it is gone."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_LAST_WAIT_S)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    return process.returncode is not None
