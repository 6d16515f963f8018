"""Control routes, health, keys: who may, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from api_server import ApiServer, wait_until
from aquahost.events import Event
from aquahost.messages.snapshot import Snapshot
from fake_daemon import FakeDaemon, fake_settings, hang

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
ADMIN = {"authorization": "Bearer admin-secret"}


@pytest.fixture
def daemon(tmp_path: Path) -> FakeDaemon:
    made = FakeDaemon()
    made.logs = tmp_path
    return made


@pytest.fixture
def server(daemon: FakeDaemon, tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(daemon, tmp_path / "s") as running:
        yield running


@pytest.fixture
def local(server: ApiServer, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client on the Unix socket."""
    transport = httpx.HTTPTransport(uds=str(tmp_path / "s"))
    with httpx.Client(transport=transport, base_url="http://aquahost", timeout=10) as client:
        yield client


def test_snapshot(local: httpx.Client, daemon: FakeDaemon) -> None:
    assert msgspec.json.decode(local.get("/control/snapshot").content, type=Snapshot) == daemon.snapshot()


def test_commands(local: httpx.Client, daemon: FakeDaemon) -> None:
    assert local.post("/control/models/org/chat/load").status_code == 202
    assert local.post("/control/models/org%2Fchat/unload", json={"drain_s": 2.5}).status_code == 200
    assert local.post("/control/models/chat/unload").status_code == 200
    assert local.post("/control/drain").status_code == 200
    assert local.post("/control/shutdown", json={"drain_s": 0}).status_code == 202
    assert daemon.calls == [
        ("load", "org/chat"),
        ("unload", "org/chat", 2.5),
        ("unload", "chat", 30.0),
        ("drain",),
        ("shutdown", 0.0),
    ]


def test_cancel(local: httpx.Client, server: ApiServer, daemon: FakeDaemon) -> None:
    daemon.script = hang
    with local.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as reply:
        assert reply.status_code == 200
        prompt = daemon.streams[0]
        assert httpx.post(f"{server.url}/control/prompts/{prompt.prompt_id}/cancel").status_code == 403
        assert not prompt.ended
        assert local.post(f"/control/prompts/{prompt.prompt_id}/cancel").status_code == 200
        assert '"code":"prompt_cancelled"' in "".join(reply.iter_text())
    reply = local.post("/control/prompts/nobody/cancel")
    assert reply.status_code == 404
    assert "nobody" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/control/models/none/load", None, 404, "model"),
        ("/control/models/none/unload", None, 404, "model"),
        ("/control/models/chat/unload", {"drain_s": -1}, 400, "drain_s"),
        ("/control/models/chat/unload", {"drain": 1}, 400, "drain"),
        ("/control/shutdown", [1], 400, None),
        ("/control/nothing", None, 404, None),
    ],
)
def test_wrong_commands(local: httpx.Client, path: str, body: object, status: int, param: str | None) -> None:
    reply = local.post(path, json=body) if body is not None else local.post(path)
    assert reply.status_code == status
    assert reply.json()["error"]["param"] == param


def test_events(local: httpx.Client, daemon: FakeDaemon) -> None:
    with local.stream("GET", "/control/events", params={"after": 1}) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = reply.iter_lines()
        assert next(lines) == "id: 2"
        event = msgspec.json.decode(next(lines).removeprefix("data: "), type=Event)
        assert (event.seq, event.model) == (2, "chat")
    wait_until(lambda: ("events closed",) in daemon.calls)


@pytest.mark.parametrize("query", [{"after": "-1"}, {"after": "x"}])
def test_wrong_query(local: httpx.Client, query: dict[str, str]) -> None:
    reply = local.get("/control/events", params=query)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "after"


def test_logs(local: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "chat.log").write_text("".join(f"line {number}\n" for number in range(50_000)))
    (tmp_path / "daemon.log").write_text("hello\n")
    assert local.get("/control/logs").text == "hello\n"
    assert local.get("/control/logs", params={"model": "chat", "lines": 2}).text == "line 49998\nline 49999\n"
    assert local.get("/control/logs", params={"model": "chat", "lines": 20_000}).text.startswith("line 30000\n")
    assert local.get("/control/logs", params={"model": "paint"}).text == ""
    assert local.get("/control/logs", params={"model": "../../etc/passwd"}).status_code == 404


def test_logs_follow(local: httpx.Client, tmp_path: Path, server: ApiServer, daemon: FakeDaemon) -> None:
    log = tmp_path / "daemon.log"
    log.write_text("one\n")
    with local.stream("GET", "/control/logs", params={"follow": "true"}) as reply:
        lines = reply.iter_lines()
        assert next(lines) == "one"
        with log.open("a") as file:
            file.write("two\n")
        assert next(lines) == "two"
        new = tmp_path / "new.log"
        new.write_text("3\n")
        new.rename(log)
        assert next(lines) == "3"
        server.call(daemon.stopped.set)
        assert list(lines) == []


def test_control_over_tcp_is_closed(server: ApiServer, daemon: FakeDaemon) -> None:
    for method, path in (
        ("GET", "snapshot"),
        ("GET", "logs"),
        ("GET", "events"),
        ("GET", "watch"),
        ("GET", "prompts/p1/output"),
        ("POST", "models/chat/park"),
        ("POST", "models/chat/wake"),
        ("POST", "models/chat/pin"),
        ("POST", "models/chat/unpin"),
        ("POST", "drain"),
        ("POST", "shutdown"),
    ):
        reply = httpx.request(method, f"{server.url}/control/{path}", headers=ADMIN)
        assert reply.status_code == 403
        assert "host.admin_key" in reply.json()["error"]["message"]
    assert daemon.calls == []


def test_control_over_tcp_with_the_admin_key() -> None:
    daemon = FakeDaemon(fake_settings(host={"admin_key": "admin-secret"}))
    with ApiServer(daemon) as server:
        for headers in ({}, {"authorization": "Bearer admin-secreT"}, {"authorization": "Basic admin-secret"}):
            reply = httpx.post(f"{server.url}/control/drain", headers=headers)
            assert reply.status_code == 401
            assert reply.headers["www-authenticate"] == "Bearer"
        assert daemon.calls == []
        assert httpx.post(f"{server.url}/control/drain", headers=ADMIN).status_code == 200
        assert daemon.calls == [("drain",)]


def test_tenants(tmp_path: Path) -> None:
    tenants = {"red": {"key": "red-secret"}, "blue": {"key": "blue-secret"}}
    daemon = FakeDaemon(fake_settings(tenants=tenants, host={"admin_key": "admin-secret"}))
    with ApiServer(daemon, tmp_path / "s") as server:
        url = f"{server.url}/v1/chat/completions"
        for headers in ({}, {"authorization": "Bearer no"}, ADMIN, {"authorization": "Bearer \xff"}):
            raw = {key: value.encode("latin-1") for key, value in headers.items()}
            reply = httpx.post(url, json=CHAT, headers=raw)
            assert reply.status_code == 401
            assert reply.json()["error"]["type"] == "authentication_error"
            assert httpx.get(f"{server.url}/v1/models", headers=raw).status_code == 401
        assert httpx.post(url, content=b"x" * (9 << 20)).status_code == 401
        for name in tenants:
            assert httpx.post(url, json=CHAT, headers={"authorization": f"Bearer {name}-secret"}).status_code == 200
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(tmp_path / "s"))) as local:
            assert local.post("http://x/v1/chat/completions", json=CHAT).status_code == 200
        assert [stream.tenant for stream in daemon.streams] == ["red", "blue", "default"]


def test_web_pages_are_kept_out(server: ApiServer, daemon: FakeDaemon) -> None:
    url = f"{server.url}/v1/chat/completions"
    for origin in ("http://evil.example", "null", "http://[", "http://localhost.evil.example"):
        assert httpx.post(url, json=CHAT, headers={"origin": origin}).status_code == 403
    plain = httpx.post(url, content=b'{"model": "chat"}', headers={"content-type": "text/plain"})
    assert plain.status_code == 400
    assert daemon.streams == []
    for origin in ("http://localhost:3000", "http://127.0.0.1:8712"):
        assert httpx.post(url, json=CHAT, headers={"origin": origin}).status_code == 200


FOREIGN = ("evil.example", "evil.example:8712", "localhost.evil.example", "127.0.0.1.evil.example", "a", "")
OWN = ("localhost", "LOCALHOST:1", "a.localhost", "127.0.0.1", "10.1.2.3:8712", "[::1]:8712", "[::1]", "my-host:8712")
PATHS = (
    "/healthz",
    "/readyz",
    "/v1/models",
    "/docs",
    "/openapi.json",
    "/images/x.png",
    "/nothing",
    "/control/snapshot",
)


def test_names_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    """A web page may have pointed its own name at this address (DNS rebinding)."""
    daemon = FakeDaemon(fake_settings(host={"listen": "my-host", "admin_key": "admin-secret"}))
    daemon.problems = ["chat: its worker is dead"]
    with ApiServer(daemon, tmp_path / "s") as server, httpx.Client(base_url=server.url, headers=ADMIN) as client:
        for host in FOREIGN:
            for path in PATHS:
                reply = client.get(path, headers={"host": host})
                assert (reply.status_code, reply.json()["error"]["type"]) == (403, "permission_error"), (host, path)
                assert "worker" not in reply.text
            assert client.post("/v1/chat/completions", json=CHAT, headers={"host": host}).status_code == 403
        for host in OWN:
            assert client.get("/readyz", headers={"host": host}).status_code == 200, host
            assert client.get("/nothing", headers={"host": host}).status_code == 404
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(tmp_path / "s"))) as local:
            assert local.get("http://evil.example/readyz").status_code == 200


def test_with_tenants_any_name_will_do() -> None:
    with ApiServer(FakeDaemon(fake_settings(tenants={"red": {"key": "red-secret"}}))) as server:
        headers = {"host": "aquahost.example", "authorization": "Bearer red-secret"}
        assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == 200
        assert httpx.get(f"{server.url}/readyz", headers=headers).status_code == 200


def test_health(server: ApiServer, daemon: FakeDaemon) -> None:
    assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok", "problems": []}
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    daemon.problems = ["chat: its worker is dead"]
    daemon.unready = ["paint: loading"]
    reply = httpx.get(f"{server.url}/healthz")
    assert (reply.status_code, reply.json()["problems"]) == (503, ["chat: its worker is dead"])
    reply = httpx.get(f"{server.url}/readyz")
    assert (reply.status_code, reply.json()["problems"]) == (503, ["paint: loading"])
    assert httpx.head(f"{server.url}/healthz").status_code == 503


def test_why_workers_died_is_for_the_daemon_s_owner(server: ApiServer, local: httpx.Client, daemon: FakeDaemon) -> None:
    daemon.reason = "KeyError: 'what someone has written'"
    for path in ("/v1/models", "/v1/models/chat", "/healthz", "/readyz"):
        assert "KeyError" not in httpx.get(f"{server.url}{path}").text
    assert "KeyError" in local.get("/control/snapshot").text


def test_openapi(server: ApiServer) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert chat["requestBody"]["content"]["application/json"]["schema"]["title"] == "ChatBody"
    statuses = {status for path in document["paths"].values() for verb in path.values() for status in verb["responses"]}
    assert "422" not in statuses
    text = httpx.get(f"{server.url}/openapi.json").text
    defined = document["components"]["schemas"]
    references = {part.partition('"')[0] for part in text.split('"$ref":"')[1:]}
    assert {reference.removeprefix("#/components/schemas/") for reference in references} <= set(defined)
    assert {"ChatCompletion", "Completion", "ImagesReply", "Snapshot", "ErrorReply", "ChatMessage"} <= set(defined)
    assert httpx.get(f"{server.url}/docs").status_code == 200
