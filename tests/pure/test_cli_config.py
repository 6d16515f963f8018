"""`aquahost config`, and which file commands take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from aquahost.cli.which_config import which_config
from aquahost.config.paths import demo_config_file
from aquahost.config.schema import json_schema
from aquahost.errors import ConfigError
from cli_harness import run_cli


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models.yaml"
    path.write_text("host: {port: 9000, admin_key: hunter22}\nmodels: {toy: {kind: toy}}\n")
    return path


def test_check(file: Path, tmp_path: Path) -> None:
    result = run_cli("config", "check", str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{file}: ok (1 models, 0 tenants)\n"
    file.write_text("models:\n  chat: {kind: toy, max_contxt: 5}\nhost: {port: x}\n")
    result = run_cli("config", "check", str(file))
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"{file}:2: models.chat.max_contxt: unknown key; did you mean max_context?",
        f'{file}:3: host.port: "x" is not allowed; a whole number from 0 to 65535',
    ]


def test_check_says_what_weights_and_policies_may_be(file: Path) -> None:
    file.write_text(
        "scheduler: {policy: fari, paging_budget: 0}\n"
        "tenants:\n  a: {key: hunter22, weight: 0}\n  b: {key: hunter23, weight: -1}\n"
        "  c: {key: hunter24, weight: 1e9}\n  d: {key: hunter25, weight: heavy}\n  e: {key: hunter26, weight: 2.5}\n"
        "models: {toy: {kind: toy, policy: lifo}, chat: {kind: llm, source: x, policy: null}}\n"
    )
    result = run_cli("config", "check", str(file))
    weight, policy = "a number above 0, at most 1000000", "one of fair, fcfs, priority"
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f'{file}:1: scheduler.policy: "fari" is not allowed; {policy}',
        f"{file}:1: scheduler.paging_budget: 0 is not allowed; a number above 0, at most 1",
        f"{file}:3: tenants.a.weight: 0 is not allowed; {weight}",
        f"{file}:4: tenants.b.weight: -1 is not allowed; {weight}",
        f"{file}:5: tenants.c.weight: 1000000000.0 is not allowed; {weight}",
        f'{file}:6: tenants.d.weight: "heavy" is not allowed; {weight}',
        f'{file}:8: models.toy.policy: "lifo" is not allowed; {policy}',
    ]


def test_show(file: Path) -> None:
    env = {"AQUAHOST_CONFIG": str(file), "AQUAHOST_HOST__LISTEN": "::1"}
    shown = yaml.safe_load(run_cli("config", "show", env=env).stdout)
    assert shown["host"]["port"] == 9000
    assert shown["host"]["admin_key"] == "********"
    assert json.loads(run_cli("config", "show", "-o", "json", env=env).stdout) == shown
    by_key = json.loads(run_cli("config", "show", "--origin", "-o", "json", env=env).stdout)
    assert by_key["host.port"] == {"value": 9000, "origin": f"{file}:1"}
    assert by_key["host.listen"] == {"value": "::1", "origin": "AQUAHOST_HOST__LISTEN"}
    assert by_key["models.toy.max_queue"] == {"value": 256, "origin": "default"}
    table = run_cli("config", "show", "--origin", "-o", "table", env=env).stdout.splitlines()
    assert table[0].split() == ["KEY", "VALUE", "ORIGIN"]
    assert any(line.split() == ["host.port", "9000", f"{file}:1"] for line in table)


def test_path() -> None:
    env = {"AQUAHOST_CONFIG": "/etc/m.yaml", "AQUAHOST_RUNTIME_DIR": "/run/x"}
    assert run_cli("config", "path", env=env).stdout == "/etc/m.yaml\n"
    places = dict(line.split() for line in run_cli("config", "path", "--all", env=env).stdout.splitlines()[1:])
    assert places["config"] == "/etc/m.yaml"
    assert places["socket"] == "/run/x/aquahost.sock"


def test_schema() -> None:
    assert json.loads(run_cli("config", "schema").stdout) == json_schema()


def test_which_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert which_config(own, str(file)) == file
    assert which_config({**own, "AQUAHOST_CONFIG": "/gone.yaml"}, None) == Path("/gone.yaml")
    assert which_config(own, None, demo=True) == demo_config_file()
    assert capsys.readouterr().err == ""
    assert which_config(own, None) == demo_config_file()
    assert "taking the packaged demo" in capsys.readouterr().err
    (tmp_path / "xdg" / "aquahost").mkdir(parents=True)
    users = tmp_path / "xdg" / "aquahost" / "models.yaml"
    users.write_text("")
    assert which_config(own, None) == users
    with pytest.raises(ConfigError, match="exclude each other"):
        which_config(own, str(file), demo=True)
