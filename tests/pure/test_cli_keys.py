"""`aquahost keys`, with no daemon and with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aquahost.keys.key_file import KeyFile
from aquahost.keys.last_used import LastUsed
from cli_harness import Canned, a_model, a_snapshot, run_cli


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"AQUAHOST_STATE_DIR": str(tmp_path / "state"), "AQUAHOST_RUNTIME_DIR": "/nonexistent"}


def test_a_key_is_written_alone_to_stdout(env: dict[str, str], tmp_path: Path) -> None:
    result = run_cli("keys", "add", "web", env=env)
    assert result.exit_code == 0
    key = result.stdout.removesuffix("\n")
    record = KeyFile(tmp_path / "state" / "keys.json").read()[0]
    assert key.startswith(f"aqh_{record.id}_")
    assert "only this once" in result.stderr
    assert "asks for a key" in result.stderr
    assert key not in result.stderr
    second = run_cli("keys", "add", "web", "--weight", "2.5", "--models", "chat, org/paint", "-o", "json", env=env)
    assert "asks for a key" not in second.stderr
    made = json.loads(second.stdout)
    assert sorted(made) == ["id", "key", "name"]
    kept = KeyFile(tmp_path / "state" / "keys.json").read()[1]
    assert (kept.id, kept.weight, kept.models) == (made["id"], 2.5, ("chat", "org/paint"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["../web"], "not a name"),
        (["web\n"], "not a name"),
        (["w" * 129], "not a name"),
        (["default"], "over the daemon's own socket"),
        (["web", "--weight", "0"], "above 0"),
        (["web", "--weight", "nan"], "above 0"),
        (["web", "--weight", "1e7"], "at most 1000000"),
        (["web", "--models", " , "], "names no model"),
        (["web", "--models", "chat,../x"], "not a name"),
        (["web", "--admin", "--models", "chat"], "admin key opens no model"),
    ],
)
def test_wrong_usage_makes_no_key(env: dict[str, str], tmp_path: Path, words: list[str], said: str) -> None:
    result = run_cli("keys", "add", *words, env=env)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "state").exists()


def test_the_list_shows_all_but_the_keys(env: dict[str, str], tmp_path: Path) -> None:
    assert run_cli("keys", "list", env=env).exit_code == 0
    keys = [
        run_cli("keys", "add", *words, env=env).stdout.strip()
        for words in (["web", "--models", "chat"], ["ops", "--admin"], ["old"])
    ]
    file = KeyFile(tmp_path / "state" / "keys.json")
    web, ops, old = file.read()
    LastUsed(tmp_path / "state" / "keys-used").note(web.id)
    assert run_cli("keys", "revoke", "old", env=env).stdout == f"{old.id}\n"
    shown = json.loads(run_cli("keys", "list", "-o", "json", env=env).stdout)
    assert [(one["id"], one["name"], one["admin"], one["models"]) for one in shown] == [
        (web.id, "web", False, ["chat"]),
        (ops.id, "ops", True, None),
    ]
    assert shown[0]["last_used_at"] is not None
    assert shown[1]["last_used_at"] is None
    every = run_cli("keys", "list", "--all", env=env).stdout
    assert every.count("revoked") == 1
    assert "digest" not in every
    for key in keys:
        assert key[-43:] not in every
    assert run_cli("keys", "list", "-q", env=env).stdout.split() == [web.id, ops.id]


def test_revoking_what_is_not_there(env: dict[str, str]) -> None:
    run_cli("keys", "add", "web", env=env)
    result = run_cli("keys", "revoke", "bew", "web", env=env)
    assert result.exit_code == 4
    assert "bew" in result.stderr
    assert len(result.stdout.split()) == 1
    assert run_cli("keys", "revoke", "web", env=env).exit_code == 4


def test_a_running_daemon_tells_of_mistyped_models(env: dict[str, str]) -> None:
    result = run_cli("keys", "add", "web", "--models", "chat,paitn", api=Canned(a_snapshot(a_model("chat"))), env=env)
    assert result.exit_code == 0
    assert "hosts no model named paitn" in result.stderr


def test_a_damaged_file_is_a_mistake_of_one_line(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / "keys.json"
    path.write_text("{")
    path.chmod(0o600)
    for words in (["list"], ["add", "web"], ["revoke", "web"]):
        result = run_cli("keys", *words, env=env)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"{path}: damaged")
