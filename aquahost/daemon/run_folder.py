"""One daemon's place under the runtime folder: the lock, the folder of its run, and daemon.json."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from pathlib import Path

import msgspec

from aquahost.config.paths import private_dir
from aquahost.errors import StartError


class DaemonInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who the running daemon is; daemon.json."""

    pid: int
    run_id: str
    version: str
    driver: str
    host: str
    port: int
    """The port it listens on, also where models.yaml says 0."""
    scheme: str
    """"http", or "https" where there is a certificate."""
    socket: str
    log: str
    started_at: str


class RunFolder:
    """Held by one daemon at a time. What belongs to one run lies in `run_dir`, whose name is the run's id."""

    def __init__(self, runtime_dir: Path, lock_fd: int, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._info_file = runtime_dir / "daemon.json"
        self._lock_fd = lock_fd

    @classmethod
    def take(cls, runtime_dir: Path) -> RunFolder:
        """Lock the runtime folder, making it if needed, and clear away what killed daemons left there.

        Raises StartError if another daemon has it, or if it cannot be written.
        """
        try:
            private_dir(runtime_dir)
            lock_fd = os.open(runtime_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(_unwritable(runtime_dir, error)) from error
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            runs = runtime_dir / "runs"
            shutil.rmtree(runs, ignore_errors=True)
            (runtime_dir / "daemon.json").unlink(missing_ok=True)
            run_dir = runs / secrets.token_hex(4)
            run_dir.mkdir(mode=0o700, parents=True)
        except BlockingIOError as error:
            os.close(lock_fd)
            raise StartError(
                f"another daemon{_pid_of(runtime_dir)} already runs in {runtime_dir}; stop it with `aquahost down`, or "
                "set AQUAHOST_RUNTIME_DIR to start a second one beside it"
            ) from error
        except OSError as error:
            os.close(lock_fd)
            raise StartError(_unwritable(runtime_dir, error)) from error
        return cls(runtime_dir, lock_fd, run_dir)

    def write_info(self, info: DaemonInfo) -> None:
        """Write daemon.json, whole or not at all."""
        draft = self.run_dir / "daemon.json"
        draft.touch(mode=0o600)
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(info), indent=2) + b"\n")
        draft.replace(self._info_file)

    def close(self) -> None:
        """Remove what belongs to the run and let another daemon in."""
        self._info_file.unlink(missing_ok=True)
        shutil.rmtree(self.run_dir, ignore_errors=True)
        os.close(self._lock_fd)


def _pid_of(runtime_dir: Path) -> str:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return f" (pid {msgspec.json.decode((runtime_dir / 'daemon.json').read_bytes(), type=DaemonInfo).pid})"
    return ""


def _unwritable(folder: Path, error: OSError) -> str:
    return f"cannot write in {folder}: {error.strerror}; set AQUAHOST_RUNTIME_DIR to a folder of your own"
