"""`aquahost reload` and the route behind it; `down` without a drain time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from aquahost.api.app import build_app
from cli_harness import Canned, a_snapshot, error, run_cli
from fake_daemon import FakeDaemon, fake_settings

RELOADED = {
    "file": "/etc/models.yaml",
    "changes": [
        {"key": "models.chat", "change": "added", "effect": "loads"},
        {"key": "host.port", "change": "1 → 2", "effect": "needs a restart"},
    ],
}
ADMIN = {"authorization": "Bearer admin-secret"}


def canned(answer: Any) -> Canned:
    return Canned(a_snapshot(), **{"POST /control/reload": answer})


def test_changes_are_a_table_or_json() -> None:
    api = canned(httpx.Response(200, json=RELOADED))
    result = run_cli("reload", api=api)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "KEY          CHANGE  EFFECT",
        "models.chat  added   loads",
        "host.port    1 → 2   needs a restart",
    ]
    assert json.loads(run_cli("reload", "-o", "json", api=api).stdout) == RELOADED
    assert api.bodies == [{}, {}]


def test_another_file_is_named_by_its_whole_path() -> None:
    api = canned(httpx.Response(200, json={**RELOADED, "changes": []}))
    result = run_cli("reload", "--models", "other.yaml", api=api)
    assert api.bodies == [{"file": str(Path.cwd() / "other.yaml")}]
    assert (result.stdout, result.stderr) == ("", "/etc/models.yaml: nothing has changed\n")


def test_mistakes_end_with_2_and_stand_as_config_check_writes_them() -> None:
    answer = error(400, "models.yaml:1: host.port: x\nmodels.yaml:2: y", code="invalid_config")
    result = run_cli("reload", api=canned(answer))
    assert (result.exit_code, result.stderr) == (2, "models.yaml:1: host.port: x\nmodels.yaml:2: y\n")


def test_what_else_is_refused_is_a_failure() -> None:
    assert run_cli("reload", api=canned(error(503, "the daemon is draining"))).exit_code == 1
    assert run_cli("reload").exit_code == 3


@pytest.mark.parametrize(("flags", "body"), [((), None), (("--drain", "5m"), 300.0), (("--now",), 0.0)])
def test_down_leaves_the_drain_time_to_the_daemon(flags: tuple[str, ...], body: float | None) -> None:
    answer = httpx.Response(202, json={"status": "stopping", "drain_s": 7.0})
    gone = a_snapshot(pid=2**22 + 1)  # no process has that number
    api = Canned(gone, **{"POST /control/shutdown": answer})
    assert run_cli("down", *flags, api=api).exit_code == 0
    assert api.bodies == [{"drain_s": body}]


async def post(
    daemon: FakeDaemon, path: str, body: Any = None, *, unix: bool = False, **headers: str
) -> httpx.Response:
    app = build_app(daemon)

    async def over_socket(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "server": ("/run/aquahost.sock", None)} if unix else scope, receive, send)

    transport = httpx.ASGITransport(over_socket)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8712") as client:
        return await client.post(path, json=body, headers=headers)


async def test_the_route_is_for_the_owner_and_other_files_for_the_socket() -> None:
    daemon = FakeDaemon(fake_settings(host={"admin_key": "admin-secret"}))
    asked = daemon.configuration.asked
    assert (await post(daemon, "/control/reload")).status_code == 401
    assert (await post(daemon, "/control/reload", **ADMIN)).status_code == 200
    assert (await post(daemon, "/control/reload", {"file": "/etc/passwd"}, **ADMIN)).status_code == 403
    assert asked == [None]
    assert (await post(daemon, "/control/reload", {"file": "/x.yaml"}, unix=True)).json()["file"] == "/x.yaml"
    for file in ("x.yaml", "", "/x\0.yaml"):
        assert (await post(daemon, "/control/reload", {"file": file}, unix=True)).status_code == 400
    assert asked == [None, Path("/x.yaml")]
    daemon.configuration.mistakes = "models.yaml:1: no"
    refused = (await post(daemon, "/control/reload", unix=True)).json()["error"]
    assert (refused["message"], refused["code"]) == ("models.yaml:1: no", "invalid_config")


async def test_new_keys_hold_at_once() -> None:
    daemon = FakeDaemon(fake_settings(tenants={"red": {"key": "red-secret"}}))
    app = build_app(daemon)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8712") as client:

        async def status(key: str) -> int:
            return (await client.get("/v1/models", headers={"authorization": f"Bearer {key}"})).status_code

        assert [await status(key) for key in ("red-secret", "new-secret")] == [200, 401]
        for tell in daemon.configuration.watchers:
            tell(fake_settings(tenants={"red": {"key": "new-secret"}}))
        assert [await status(key) for key in ("red-secret", "new-secret")] == [401, 200]


async def test_shutdown_says_how_long_it_drains() -> None:
    daemon = FakeDaemon(fake_settings(host={"drain_s": 12}))
    assert (await post(daemon, "/control/shutdown", unix=True)).json() == {"status": "stopping", "drain_s": 12.0}
    assert (await post(daemon, "/control/shutdown", {"drain_s": 3}, unix=True)).json()["drain_s"] == 3.0
    assert (await post(daemon, "/control/models/chat/unload", unix=True)).status_code == 200
    assert daemon.calls == [("shutdown", 12.0), ("shutdown", 3.0), ("unload", "chat", 12.0)]
