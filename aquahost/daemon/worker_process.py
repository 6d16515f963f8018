"""One worker's process: begun, watched, killed with all it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import msgspec

from aquahost.daemon.worker_log import open_log
from aquahost.worker.spec import WorkerSpec


class WorkerProcess:
    """A running `python -m aquahost.worker`.

    It leads its own process group, so that a terminal's Ctrl-C does not reach it and `kill` takes along what it
    started; when it ends by itself, its guard does (see `aquahost.worker.lifeline`). Its standard input is the
    lifeline: it carries the spec and then stays open until the daemon ends.
    """

    def __init__(self, process: asyncio.subprocess.Process, lifeline_fd: int) -> None:
        self.pid = process.pid
        self._process = process
        self._lifeline_fd = lifeline_fd

    @classmethod
    async def spawn(cls, spec: WorkerSpec, log_path: Path) -> WorkerProcess:
        """Begin a worker that logs to `log_path`. Raises OSError if it cannot be begun."""
        read_fd, write_fd = os.pipe()
        try:
            # A spec is a few kilobytes and the pipe holds 64, so this cannot block.
            os.write(write_fd, msgspec.json.encode(spec) + b"\n")
            with await asyncio.to_thread(open_log, log_path) as log:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "aquahost.worker", spec.name),
                    stdin=read_fd,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except BaseException:
            os.close(write_fd)
            raise
        finally:
            os.close(read_fd)
        return cls(process, write_fd)

    async def wait(self) -> int:
        """Wait for its end and return its status; negative for a signal."""
        status = await self._process.wait()
        os.close(self._lifeline_fd)
        return status

    def kill(self) -> None:
        """Kill it and all it started; does nothing once it has ended, since its number may then be another's."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


def describe_end(status: int, last_line: str) -> str:
    """How a worker ended, as the end of a sentence; `last_line` is its log's."""
    if status < 0:
        return f"was killed by {_signal_name(-status)}"
    return f"exited with status {status}" + (f": {last_line}" if last_line else "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
