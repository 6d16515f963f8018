"""Keys that open some models only: what their holders reach, and what they do not even see."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_server import ApiServer
from aquahost.keys.key_file import KeyFile
from aquahost.keys.keyring import Keyring
from fake_daemon import PNG, FakeDaemon, fake_settings

TENANTS = {
    "red": {"key": "red-secret", "models": ["chat"]},
    "blue": {"key": "blue-secret"},
    "shut": {"key": "shut-secret", "models": []},
}
MESSAGES = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/images/generations": {"prompt": "Hi"},
    "/v1/audio/speech": {"input": "Hi"},
}
TRAVERSALS = (
    "../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "....//....//etc/passwd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "..%5c..%5cetc%5cpasswd",
    "%00/etc/passwd",
    "keys.json",
    "..%2fkeys.json",
    "file:///etc/passwd",
)
LEAKS = re.compile("root:|schema_version|digest")


@pytest.fixture
def daemon(tmp_path: Path) -> FakeDaemon:
    made = FakeDaemon(fake_settings(tenants=TENANTS, host={"admin_key": "admin-secret"}))
    made.logs = tmp_path
    made.keyring = Keyring(made.settings, KeyFile(tmp_path / "keys.json"))
    return made


@pytest.fixture
def server(daemon: FakeDaemon) -> Iterator[ApiServer]:
    with ApiServer(daemon) as running:
        yield running


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def ask(server: ApiServer, route: str, model: str, key: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{route}", json={"model": model, **BODIES[route], **fields}, headers=bearer(key))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", BODIES)
def test_others_models_do_not_exist(server: ApiServer, daemon: FakeDaemon, route: str, stream: bool) -> None:
    """A hidden model's answer is an unknown one's, but for the name that was asked for."""
    fields: dict[str, Any] = {"stream": stream} if route != "/v1/audio/speech" else {}
    replies = {name: ask(server, route, name, "red-secret", **fields) for name in ("paint", "pnait")}
    for reply in replies.values():
        assert reply.status_code == 404
        assert reply.json()["error"]["code"] == "model_not_found"
        assert reply.json()["error"]["param"] == "model"
    hidden, unknown = (reply.text.replace(name, "?") for name, reply in replies.items())
    assert hidden == unknown
    assert [name for name in ("sing", "org/chat") if name in hidden] == []
    assert set(replies["paint"].headers) == set(replies["pnait"].headers)
    assert daemon.streams == []


def test_who_may_use_what(server: ApiServer, daemon: FakeDaemon) -> None:
    route = "/v1/chat/completions"
    asked = [("chat", "red"), ("org/chat", "red"), ("chat", "blue"), ("org/chat", "blue"), ("chat", "shut")]
    statuses = [ask(server, route, model, f"{tenant}-secret").status_code for model, tenant in asked]
    assert statuses == [200, 404, 200, 200, 404]
    assert [(stream.model, stream.tenant) for stream in daemon.streams] == [
        ("chat", "red"),
        ("chat", "blue"),
        ("org/chat", "blue"),
    ]


def test_the_list_holds_what_a_key_opens(server: ApiServer) -> None:
    def listed(key: str) -> list[str]:
        reply = httpx.get(f"{server.url}/v1/models", headers=bearer(key))
        return [model["id"] for model in reply.json()["data"]]

    assert listed("red-secret") == ["chat"]
    assert listed("blue-secret") == ["chat", "paint", "sing", "org/chat"]
    assert listed("shut-secret") == []
    url = f"{server.url}/v1/models"
    assert httpx.get(f"{url}/chat", headers=bearer("red-secret")).status_code == 200
    replies = {name: httpx.get(f"{url}/{name}", headers=bearer("red-secret")) for name in ("org/chat", "gro/chat")}
    texts = {reply.text.replace(name, "?") for name, reply in replies.items()}
    assert {reply.status_code for reply in replies.values()} == {404}
    assert len(texts) == 1
    assert "paint" not in texts.pop()


def test_a_key_made_and_revoked_while_it_runs(server: ApiServer, tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    url = f"{server.url}/v1/models"
    record, key = file.add("green", models=["sing"])
    assert [model["id"] for model in httpx.get(url, headers=bearer(key)).json()["data"]] == ["sing"]
    assert ask(server, "/v1/audio/speech", "sing", key).status_code == 200
    file.revoke(record.id)
    assert httpx.get(url, headers=bearer(key)).status_code == 401
    assert ask(server, "/v1/audio/speech", "sing", key).status_code == 401


def test_a_user_s_key_steers_nothing_and_an_admin_s_asks_nothing(server: ApiServer, daemon: FakeDaemon) -> None:
    for method, path in (
        ("GET", "snapshot"),
        ("GET", "events"),
        ("GET", "logs"),
        ("GET", "prompts/p1/output"),
        ("POST", "prompts/p1/cancel"),
        ("POST", "models/chat/unload"),
        ("POST", "shutdown"),
    ):
        reply = httpx.request(method, f"{server.url}/control/{path}", headers=bearer("blue-secret"))
        assert (reply.status_code, reply.json()["error"]["type"]) == (403, "permission_error"), path
    assert daemon.calls == []
    assert ask(server, "/v1/completions", "chat", "admin-secret").status_code == 401
    assert httpx.get(f"{server.url}/v1/models", headers=bearer("admin-secret")).status_code == 401
    assert httpx.get(f"{server.url}/control/snapshot", headers=bearer("admin-secret")).status_code == 200


def test_health_tells_strangers_no_names(server: ApiServer, daemon: FakeDaemon) -> None:
    daemon.problems = ["paint: its worker is dead"]
    far = {"x-forwarded-for": "10.0.0.9"}
    for headers in (far, {**far, **bearer("red-secret")}, {**far, **bearer("wrong")}):
        reply = httpx.get(f"{server.url}/healthz", headers=headers)
        assert (reply.status_code, reply.json()) == (503, {"status": "unhealthy", "problems": []})
    for headers in ({}, {**far, **bearer("blue-secret")}, {**far, **bearer("admin-secret")}):
        assert httpx.get(f"{server.url}/healthz", headers=headers).json()["problems"] == daemon.problems
    assert httpx.get(f"{server.url}/metrics", headers={**far, **bearer("red-secret")}).status_code == 403


def test_an_image_is_found_by_its_whole_name_alone(server: ApiServer) -> None:
    url = ask(server, "/v1/images/generations", "paint", "blue-secret", response_format="url").json()["data"][0]["url"]
    assert httpx.get(url).content == PNG
    name = url.rpartition("/")[2]
    assert len(name.partition(".")[0]) >= 32  # 192 random bits, told only to who asked
    for other in ("", name[1:], name.swapcase(), name.replace(".png", ".jpeg"), f"..%2f{name}", f"{name}%00", "*"):
        assert httpx.get(f"{server.url}/images/{other}").status_code == 404, other


def test_no_path_of_a_request_reaches_the_file_system(server: ApiServer, tmp_path: Path) -> None:
    KeyFile(tmp_path / "keys.json").add("web")
    admin, user = bearer("admin-secret"), bearer("blue-secret")
    routes = ("/images/", "/v1/models/", "/control/models/", "/control/prompts/", "/docs/", "/")
    with httpx.Client(base_url=server.url) as client:
        for path, route in itertools.product(TRAVERSALS, routes):
            url = client.base_url.copy_with(raw_path=f"{route}{path}".encode())
            for method in ("GET", "POST"):
                reply = client.request(method, url, headers=user if route == "/v1/models/" else admin)
                assert reply.status_code in (400, 404, 405), (url, reply.text)
                assert not LEAKS.search(reply.text), url
        for path in (*TRAVERSALS, "../../../etc/passwd", "chat/../../../etc/passwd"):
            reply = client.get("/control/logs", params={"model": path, "lines": 10}, headers=admin)
            assert (reply.status_code, bool(LEAKS.search(reply.text))) == (404, False), path
            for model in (path, f"chat/{path}"):
                reply = client.post("/v1/completions", json={"model": model, "prompt": "x"}, headers=user)
                assert reply.status_code == 404, path
