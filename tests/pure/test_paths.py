"""Where files lie."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from aquahost.config import paths
from aquahost.errors import StartError


def test_xdg_variables_are_followed(tmp_path: Path) -> None:
    env = {
        "XDG_CONFIG_HOME": "/c",
        "XDG_STATE_HOME": "/s",
        "XDG_CACHE_HOME": "/k",
        "XDG_DATA_HOME": "/d",
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    assert paths.config_file(env) == Path("/c/aquahost/models.yaml")
    assert paths.state_dir(env) == Path("/s/aquahost")
    assert paths.log_file(None, env) == Path("/s/aquahost/logs/daemon.log")
    assert paths.log_file("org/chat", env) == Path("/s/aquahost/logs/model-org%2Fchat.log")
    assert paths.cache_dir(env) == Path("/k/aquahost")
    assert paths.profile_dir(env) == Path("/d/aquahost/profiles")
    assert paths.socket_path(env) == tmp_path / "aquahost/aquahost.sock"
    assert paths.daemon_file(env) == tmp_path / "aquahost/daemon.json"


def test_own_variables_override_and_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    env = {
        "AQUAHOST_CONFIG": "~/m.yaml",
        "AQUAHOST_STATE_DIR": "state",
        "AQUAHOST_LOG_DIR": "/logs",
        "AQUAHOST_CACHE_DIR": "/cache",
        "AQUAHOST_PROFILE_DIR": "/profiles",
        "AQUAHOST_RUNTIME_DIR": "/run/x",
        "AQUAHOST_SOCKET": "/run/y/s",
    }
    assert paths.config_file(env) == Path("/home/someone/m.yaml")
    assert paths.state_dir(env) == tmp_path / "state"
    assert paths.log_dir(env) == Path("/logs")
    assert paths.cache_dir(env) == Path("/cache")
    assert paths.profile_dir(env) == Path("/profiles")
    assert paths.runtime_dir(env) == Path("/run/x")
    assert paths.socket_path(env) == Path("/run/y/s")


@pytest.mark.parametrize("value", ["", "/nonexistent/runtime"])
def test_without_a_runtime_folder_the_users_own_temporary_one_is_taken(value: str) -> None:
    assert paths.runtime_dir({"XDG_RUNTIME_DIR": value}).name == f"aquahost-{os.getuid()}"


def test_relative_xdg_values_are_ignored_as_the_specification_asks() -> None:
    assert paths.cache_dir({"XDG_CACHE_HOME": "relative"}).is_absolute()


def test_every_model_logs_to_a_file_of_its_own_in_the_log_folder() -> None:
    models = (None, "daemon", "a/b", "a--b", "a-b", "a%2Fb", "a%252Fb", "a/b/c", "a/b.log")
    names = [paths.log_name(model) for model in models]
    assert len(set(names)) == len(models)
    assert not any("/" in name for name in names)
    env = {"AQUAHOST_LOG_DIR": "/logs"}
    assert [paths.log_file(model, env) for model in models] == [Path("/logs", name) for name in names]


def test_a_private_folder_is_made_and_tightened(tmp_path: Path) -> None:
    folder = paths.private_dir(tmp_path / "a" / "b")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    assert stat.S_IMODE(paths.private_dir(folder).stat().st_mode) == 0o700


def test_a_private_folder_is_never_a_link_or_anothers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StartError, match="not a link"):
        paths.private_dir(tmp_path / "link")
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError):
        paths.private_dir(tmp_path / "file")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(StartError, match="belongs to another user"):
        paths.private_dir(tmp_path / "real")


def test_folders_that_are_missing_are_the_user_s_alone_and_others_stay_as_they_are(tmp_path: Path) -> None:
    open_to_all = tmp_path / "shared"
    open_to_all.mkdir(mode=0o755)
    for _ in range(2):
        paths.private_dirs(open_to_all / "state" / "logs")
    modes = [
        stat.S_IMODE(path.stat().st_mode) for path in (open_to_all, open_to_all / "state", open_to_all / "state/logs")
    ]
    assert modes == [0o755, 0o700, 0o700]
