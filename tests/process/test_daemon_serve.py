"""A daemon as a whole process: where it listens, how it starts, refuses to start and stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aquahost.config.settings import Settings
from aquahost.daemon.exposure import refuse_strangers
from aquahost.daemon.run_folder import RunFolder
from aquahost.errors import StartError
from aquahost.keys.key_file import KeyFile
from aquahost.serve import serve
from daemon_fixtures import served_daemon, toy, wait_until


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aquahost-test.") as name:
        yield Path(name)


@pytest.fixture
def places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AQUAHOST_RUNTIME_DIR", str(folder / "run"))
    monkeypatch.setenv("AQUAHOST_STATE_DIR", str(folder / "state"))
    return folder


def settings(**host: object) -> Settings:
    return Settings.model_validate({"host": {"port": 0, "driver": "emulated", **host}})


def refusal(given: Settings) -> str:
    """What a daemon that cannot start says; always one line."""
    with pytest.raises(StartError) as caught:
        serve(given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_serves_on_a_port_and_a_private_socket_refuses_a_second_and_stops_at_a_signal(places: Path) -> None:
    with served_daemon(places, {"chat": toy()}) as daemon:
        info = daemon.info
        assert info.pid == daemon.process.pid
        with httpx.Client(transport=httpx.HTTPTransport(uds=info.socket), base_url="http://daemon") as client:
            wait_until(lambda: client.get("/readyz").status_code == 200)
            snapshot = client.get("/control/snapshot").json()
        assert (snapshot["pid"], snapshot["run_id"], snapshot["driver"]) == (info.pid, info.run_id, "emulated")
        assert len(snapshot["gpus"]) == 8
        assert stat.S_IMODE(os.stat(info.socket).st_mode) == 0o600
        assert stat.S_IMODE(Path(info.socket).parent.stat().st_mode) == 0o700
        body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
        reply = httpx.post(f"http://127.0.0.1:{info.port}/v1/chat/completions", json=body, trust_env=False)
        assert reply.json()["usage"]["completion_tokens"] == 3
        assert httpx.get(f"http://127.0.0.1:{info.port}/control/snapshot", trust_env=False).status_code == 403

        assert f"pid {info.pid}" in refusal(settings())

        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(timeout=20) == 0
        assert daemon.process.stderr is not None
        said = daemon.process.stderr.read()
        assert "EMULATED DRIVER: 8 pretended GPUs" in said
        log = Path(info.log).read_text()
    assert "EMULATED DRIVER" in log
    assert log.endswith("stopped\n")
    left = sorted(path.name for path in (places / "run").iterdir())
    assert left == ["lock", "runs"]
    assert list((places / "run" / "runs").iterdir()) == []


def test_a_second_signal_ends_prompts_that_the_first_let_go_on(places: Path) -> None:
    with (
        served_daemon(places, {"chat": toy(step_s=0.01)}) as daemon,
        httpx.Client(base_url=f"http://127.0.0.1:{daemon.info.port}", trust_env=False) as client,
    ):
        wait_until(lambda: client.get("/readyz").status_code == 200)
        body = {"model": "chat", "stream": True, "max_tokens": 10**9, "messages": [{"role": "user", "content": "hi"}]}
        with client.stream("POST", "/v1/chat/completions", json=body) as reply:
            lines = reply.iter_lines()
            next(lines)
            daemon.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "30 s to end" in Path(daemon.info.log).read_text())
            for _ in range(20):
                next(lines)
            daemon.process.send_signal(signal.SIGTERM)
            rest = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        assert "error" in rest[-1]
        assert daemon.process.wait(timeout=20) == 0


def test_a_killed_daemon_s_leavings_do_not_hinder_the_next(places: Path) -> None:
    with served_daemon(places, {}) as first:
        first.process.kill()
        first.process.wait()
        assert Path(first.info.socket).exists()
        with served_daemon(places, {}) as second:
            assert second.info.run_id != first.info.run_id
            assert [path.name for path in (places / "run" / "runs").iterdir()] == [second.info.run_id]


def test_a_taken_port_is_named_with_what_to_do(places: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refusal(settings(port=port)) == (
            f"port {port} on 127.0.0.1 is taken; choose another with --port (0 takes any free one)"
        )
    RunFolder.take(places / "run").close()  # the lock was let go


def test_a_runtime_folder_that_cannot_be_made_is_named(places: Path) -> None:
    (places / "run").write_text("a file")
    assert str(places / "run") in refusal(settings())


def test_a_log_folder_that_cannot_be_made_is_named(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "file").write_text("")
    monkeypatch.setenv("AQUAHOST_LOG_DIR", str(places / "file"))
    assert "AQUAHOST_LOG_DIR" in refusal(settings())


def test_a_path_too_long_for_a_socket_is_refused_with_what_to_do(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUAHOST_RUNTIME_DIR", str(places / ("long" * 25)))
    assert "AQUAHOST_RUNTIME_DIR" in refusal(settings())


def test_an_api_open_to_the_network_without_keys_is_refused_with_what_to_do(places: Path) -> None:
    admin = {"admin_key": "an admin key"}
    for listen in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        for more in ({}, admin):
            said = refusal(settings(listen=listen, **more))
            assert listen in said
            assert "aquahost keys add" in said
    KeyFile(places / "state" / "keys.json").add("ops", admin=True)
    assert "there are no keys" in refusal(settings(listen="0.0.0.0"))
    assert not (places / "run").exists()


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("listen", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST", "0.0.0.0", "::"])
def test_what_may_be_listened_on(listen: str, keyed: bool) -> None:
    if keyed or listen not in ("0.0.0.0", "::"):
        refuse_strangers(listen, keyed=keyed)
        return
    with pytest.raises(StartError):
        refuse_strangers(listen, keyed=keyed)


def test_with_a_key_it_listens_anywhere_until_that_is_revoked(places: Path) -> None:
    file = KeyFile(places / "state" / "keys.json")
    record, key = file.add("web")
    with served_daemon(places, {"chat": toy()}, listen="0.0.0.0") as daemon:
        url = f"http://127.0.0.1:{daemon.info.port}/v1/models"
        headers = {"authorization": f"Bearer {key}"}
        assert httpx.get(url, trust_env=False).status_code == 401
        assert httpx.get(url, headers=headers, trust_env=False).status_code == 200
        file.revoke("web")
        assert httpx.get(url, headers=headers, trust_env=False).status_code == 401
        assert [path.name for path in (places / "state" / "keys-used").iterdir()] == [record.id]


def test_an_address_of_another_machine_is_refused(places: Path) -> None:
    KeyFile(places / "state" / "keys.json").add("web")
    assert "192.0.2.1" in refusal(settings(listen="192.0.2.1"))
