"""Where files lie: XDG places, each with an AQUAHOST_* variable that overrides it. Computes paths; makes none,
except `private_dir` and `private_dirs`.

| what            | variable             | default                                                         |
|-----------------|----------------------|-----------------------------------------------------------------|
| `config_file`   | AQUAHOST_CONFIG      | $XDG_CONFIG_HOME/aquahost/models.yaml                           |
| `state_dir`     | AQUAHOST_STATE_DIR   | $XDG_STATE_HOME/aquahost                                        |
| `log_dir`       | AQUAHOST_LOG_DIR     | state_dir/logs                                                  |
| `cache_dir`     | AQUAHOST_CACHE_DIR   | $XDG_CACHE_HOME/aquahost                                        |
| `profile_dir`   | AQUAHOST_PROFILE_DIR | $XDG_DATA_HOME/aquahost/profiles                                |
| `runtime_dir`   | AQUAHOST_RUNTIME_DIR | $XDG_RUNTIME_DIR/aquahost, without XDG_RUNTIME_DIR a folder of  |
|                 |                      | the user's in the temporary directory: aquahost-UID             |
| `socket_path`   | AQUAHOST_SOCKET      | runtime_dir/aquahost.sock                                       |
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import platformdirs

from aquahost.errors import StartError

APP = "aquahost"
PATH_VARIABLES = (
    "AQUAHOST_CONFIG",
    "AQUAHOST_STATE_DIR",
    "AQUAHOST_LOG_DIR",
    "AQUAHOST_CACHE_DIR",
    "AQUAHOST_PROFILE_DIR",
    "AQUAHOST_RUNTIME_DIR",
    "AQUAHOST_SOCKET",
)


def config_file(env: Mapping[str, str] = os.environ) -> Path:
    """models.yaml of this user, whether or not it exists."""
    if path := _override(env, "AQUAHOST_CONFIG"):
        return path
    return _xdg(env, "XDG_CONFIG_HOME", platformdirs.user_config_path) / "models.yaml"


def state_dir(env: Mapping[str, str] = os.environ) -> Path:
    """What outlives a run: logs, the journal of events, keys, durable jobs."""
    return _override(env, "AQUAHOST_STATE_DIR") or _xdg(env, "XDG_STATE_HOME", platformdirs.user_state_path)


def log_dir(env: Mapping[str, str] = os.environ) -> Path:
    """Logs of the daemon and of each worker."""
    return _override(env, "AQUAHOST_LOG_DIR") or state_dir(env) / "logs"


def log_name(model: str | None) -> str:
    """The log of a model's workers, or of the daemon for None, as a file in `log_dir`; no two models share one."""
    return "daemon.log" if model is None else f"model-{model.replace('%', '%25').replace('/', '%2F')}.log"


def log_file(model: str | None, env: Mapping[str, str] = os.environ) -> Path:
    """The log of a model's workers, or of the daemon for None."""
    return log_dir(env) / log_name(model)


def journal_file(env: Mapping[str, str] = os.environ) -> Path:
    """What happened, in this run and in those before it, one event a line."""
    return state_dir(env) / "events.jsonl"


def jobs_dir(env: Mapping[str, str] = os.environ) -> Path:
    """Durable jobs, and what they made."""
    return state_dir(env) / "jobs"


def cache_dir(env: Mapping[str, str] = os.environ) -> Path:
    """What can be made again: the demo models, and how fast the links are."""
    return _override(env, "AQUAHOST_CACHE_DIR") or _xdg(env, "XDG_CACHE_HOME", platformdirs.user_cache_path)


def profile_dir(env: Mapping[str, str] = os.environ) -> Path:
    """What models cost on GPUs, one JSON file a profile."""
    if path := _override(env, "AQUAHOST_PROFILE_DIR"):
        return path
    return _xdg(env, "XDG_DATA_HOME", platformdirs.user_data_path) / "profiles"


def runtime_dir(env: Mapping[str, str] = os.environ) -> Path:
    """What ends with a run: sockets, daemon.json."""
    if path := _override(env, "AQUAHOST_RUNTIME_DIR"):
        return path
    base = env.get("XDG_RUNTIME_DIR", "")
    if base and Path(base).is_dir():
        return Path(base) / APP
    return Path(tempfile.gettempdir()) / f"{APP}-{os.getuid()}"


def socket_path(env: Mapping[str, str] = os.environ) -> Path:
    """The daemon's Unix socket."""
    return _override(env, "AQUAHOST_SOCKET") or runtime_dir(env) / f"{APP}.sock"


def keys_file(env: Mapping[str, str] = os.environ) -> Path:
    """Keys of the HTTP API that `aquahost keys` has made."""
    return state_dir(env) / "keys.json"


def keys_used_dir(env: Mapping[str, str] = os.environ) -> Path:
    """When each of these keys was used last, written by the daemon."""
    return state_dir(env) / "keys-used"


def daemon_file(env: Mapping[str, str] = os.environ) -> Path:
    """Who the running daemon is (pid and addresses, JSON), written by it."""
    return runtime_dir(env) / "daemon.json"


def demo_config_file() -> Path:
    """The packaged models.yaml of three small models that need no download."""
    return Path(__file__).parent.parent / "demo" / "models.yaml"


def private_dir(path: Path) -> Path:
    """Make `path` (and its parents) if missing, readable by this user alone (0700), and return it.

    Raises StartError if it cannot be made, is no folder, or belongs to someone else, who could read what is in it.
    """
    try:
        private_dirs(path)
        status = path.lstat()
    except OSError as error:
        raise StartError(f"cannot make the folder {path}: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise StartError(f"{path} must be a folder, not a link or a file; remove it or set AQUAHOST_RUNTIME_DIR")
    if status.st_uid != os.getuid():
        raise StartError(f"{path} belongs to another user; set AQUAHOST_RUNTIME_DIR to a folder of your own")
    if stat.S_IMODE(status.st_mode) & 0o077:
        path.chmod(0o700)
    return path


def private_dirs(path: Path) -> None:
    """Make `path` and what is missing above it, each for this user alone (0700). Raises OSError."""
    try:
        path.mkdir(mode=0o700)
    except FileNotFoundError:
        private_dirs(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        if not path.is_dir():
            raise


def _override(env: Mapping[str, str], variable: str) -> Path | None:
    text = env.get(variable, "")
    return Path(text).expanduser().absolute() if text else None


def _xdg(env: Mapping[str, str], variable: str, default: Callable[[str], Path]) -> Path:
    base = env.get(variable, "")
    return Path(base) / APP if base and Path(base).is_absolute() else default(APP)
