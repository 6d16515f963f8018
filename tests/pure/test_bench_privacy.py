"""A measurement never meets the user's own daemon."""

from __future__ import annotations

from pathlib import Path

from aquahost.bench.private_daemon import private_environment
from aquahost.config import paths


def test_no_setting_of_the_users_daemon_reaches_the_measured_one() -> None:
    users = {
        "PATH": "/bin",
        "AQUAHOST_SOCKET": "/run/mine.sock",
        "AQUAHOST_CONFIG": "/mine.yaml",
        "AQUAHOST_HOST__PORT": "1",
        "AQUAHOST_LOG_DIR": "/mine",
        "AQUAHOST_CACHE_DIR": "/cache",
    }
    env = private_environment(users, Path("/private"))
    assert paths.socket_path(env).is_relative_to("/private")
    assert paths.log_dir(env).is_relative_to("/private")
    assert paths.profile_dir(env).is_relative_to("/private")
    assert env["PATH"] == "/bin"
    assert env["AQUAHOST_CACHE_DIR"] == "/cache"
    assert "AQUAHOST_HOST__PORT" not in env
    assert "AQUAHOST_CONFIG" not in env
