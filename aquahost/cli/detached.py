"""A daemon in the background: started in a session of its own, watched until it answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aquahost.cli.surroundings import Surroundings
from aquahost.config.paths import private_dirs
from aquahost.errors import StartError, UnreachableError
from aquahost.messages.snapshot import Snapshot

_LOOK_EVERY_S = 0.05
_ANSWER_WITHIN_S = 60.0
_PREFIX = "aquahost: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Detached:
    """A daemon just started, and where it writes."""

    process: subprocess.Popen[bytes]
    log: Path
    log_offset: int
    """Length of the log before it was started."""

    def answers(self, around: Surroundings) -> Snapshot:
        """Wait for it to answer, and return its first snapshot. Raises StartError with its own words if it ends."""
        deadline_s = around.now_s() + _ANSWER_WITHIN_S
        while True:
            ended = self.process.poll() is not None  # before the look, so that an ended one is never missed
            try:
                with around.client(timeout_s=2.0) as client:
                    snapshot = client.snapshot()
                if snapshot.pid == self.process.pid:
                    return snapshot
            except UnreachableError:
                pass  # not yet
            if ended:
                raise StartError(self.last_words())
            if around.now_s() > deadline_s:
                self.process.terminate()
                raise StartError(f"the daemon does not answer after {_ANSWER_WITHIN_S:.0f} s; its log is {self.log}")
            around.sleep(_LOOK_EVERY_S)

    def last_words(self) -> str:
        """Why it ended: its error as it wrote it, or its last line."""
        with self.log.open("rb") as log:
            log.seek(self.log_offset)
            lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        said = [line.removeprefix(_PREFIX) for line in lines if line.startswith(_PREFIX)]
        if said:
            return said[-1]
        last = f": {lines[-1]}" if lines else ""
        return f"the daemon ended with status {self.process.poll()}{last}; its log is {self.log}"


def start_detached(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Detached:
    """Start `aquahost up` with these arguments, apart from this terminal. Raises StartError if that fails."""
    try:
        private_dirs(log.parent)
        with log.open("ab") as target:
            offset = target.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                [sys.executable, "-m", "aquahost", "up", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=target,
                env=dict(env),
                start_new_session=True,
            )
    except OSError as error:
        raise StartError(f"cannot start a daemon that logs to {log}: {error.strerror}") from error
    return Detached(process=process, log=log, log_offset=offset)
