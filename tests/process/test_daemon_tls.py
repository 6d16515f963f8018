"""The port with a certificate: https there, and the Unix socket as ever."""

from __future__ import annotations

import json
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aquahost.api.http_server import tls_context
from aquahost.errors import StartError
from certificates import make_certificate
from daemon_fixtures import served_daemon, toy, wait_until

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aquahost-test.") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def pair(folder: Path) -> tuple[str, str]:
    return make_certificate(folder, "own")


def test_https_on_the_port_and_plain_on_the_socket(folder: Path, pair: tuple[str, str]) -> None:
    with served_daemon(folder, {"chat": toy()}, tls_cert=pair[0], tls_key=pair[1]) as daemon:
        assert json.loads((folder / "run" / "daemon.json").read_text())["scheme"] == "https"
        uds = httpx.HTTPTransport(uds=daemon.info.socket)
        with httpx.Client(transport=uds, base_url="http://aquahost") as local:
            wait_until(lambda: local.get("/readyz").status_code == 200)
            assert local.get("/control/snapshot").json()["pid"] == daemon.info.pid
        url = f"https://localhost:{daemon.info.port}"
        trusted = ssl.create_default_context(cafile=pair[0])
        with httpx.Client(base_url=url, verify=trusted, trust_env=False) as client:
            assert client.post("/v1/chat/completions", json=CHAT).json()["usage"]["completion_tokens"] == 5
            with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as reply:
                assert list(reply.iter_lines())[-2] == "data: [DONE]"
            assert client.get("/control/snapshot").status_code == 403
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{url}/readyz", trust_env=False)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://localhost:{daemon.info.port}/readyz", trust_env=False)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(pair[0])
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert httpx.get(f"{url}/readyz", verify=old, trust_env=False).status_code == 200
        daemon.process.terminate()
        assert daemon.process.wait(timeout=20) == 0


def refusal(cert: str | None, key: str | None) -> str:
    with pytest.raises(StartError) as caught:
        tls_context(cert, key)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_each_mistake_is_told_with_its_file(folder: Path, pair: tuple[str, str]) -> None:
    cert, key = pair
    _, other = make_certificate(folder, "other")
    locked = make_certificate(folder, "locked", "-passout", "pass:secret-word")
    missing, text = str(folder / "missing.pem"), folder / "notes.txt"
    text.write_text("no certificate")
    cut = folder / "cut.crt"
    cut.write_text(Path(cert).read_text()[:200])
    assert refusal(missing, key) == f"host.tls_cert: {missing} cannot be read: No such file or directory"
    assert refusal(cert, missing) == f"host.tls_key: {missing} cannot be read: No such file or directory"
    assert refusal(str(folder), key) == f"host.tls_cert: {folder} cannot be read: Is a directory"
    assert refusal(str(text), key) == f"host.tls_cert: {text} is no PEM file"
    assert refusal(cert, other) == f"host.tls_key: {other} is not the key of the certificate in {cert}"
    assert "needs a password" in refusal(*locked)
    assert "name that as host.tls_key" in refusal(cert, None)
    assert str(cut) in refusal(str(cut), key)
    assert "are no certificate and its private key" in refusal(key, cert)


def test_one_file_may_hold_both(folder: Path, pair: tuple[str, str]) -> None:
    both = folder / "both.pem"
    both.write_text("".join(Path(path).read_text() for path in pair))
    context = tls_context(str(both), None)
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert tls_context(None, None) is None
