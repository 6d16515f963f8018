"""/metrics over a real server: as Prometheus asks, with and without keys."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api_server import ApiServer
from aquahost.messages.figures import LendingFigures, Lent
from fake_daemon import FakeDaemon, fake_settings

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def names(text: str) -> set[str]:
    return {family.name for family in text_string_to_metric_families(text)}


def test_a_scrape(server: ApiServer, daemon: FakeDaemon) -> None:
    daemon.lending = LendingFigures(lent=[Lent(1, "chat", 42)])
    reply = httpx.get(f"{server.url}/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    assert "aquahost_model_queue" in names(reply.text)
    assert 'aquahost_lent_bytes{borrower="chat",donor="1"} 42.0' in reply.text
    daemon.lending = LendingFigures()
    assert "aquahost_lent_bytes{" not in httpx.get(f"{server.url}/metrics").text  # nothing is kept between scrapes


def test_openmetrics_if_asked_for(server: ApiServer) -> None:
    reply = httpx.get(f"{server.url}/metrics", headers={"accept": OPENMETRICS})
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.text.endswith("# EOF\n")


def test_on_the_socket_and_described(tmp_path: Path) -> None:
    with ApiServer(FakeDaemon(), tmp_path / "s") as _:
        transport = httpx.HTTPTransport(uds=str(tmp_path / "s"))
        with httpx.Client(transport=transport, base_url="http://aquahost") as client:
            assert "aquahost_model_ready" in names(client.get("/metrics").text)
            described = client.get("/openapi.json").json()["paths"]["/metrics"]["get"]
    assert described["responses"]["200"]["content"] == {"text/plain": {"schema": {"type": "string"}}}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"authorization": "Bearer nonsense"}, 200),
        ({"x-forwarded-for": "10.0.0.9"}, 401),
        ({"host": "rebound.example"}, 401),
        ({"x-forwarded-for": "10.0.0.9", "authorization": "Bearer red-secret"}, 200),
    ],
)
def test_keys(headers: dict[str, str], status: int) -> None:
    daemon = FakeDaemon(fake_settings(tenants={"red": {"key": "red-secret"}}))
    with ApiServer(daemon) as server:
        reply = httpx.get(f"{server.url}/metrics", headers=headers)
    assert reply.status_code == status
    if status != 200:
        assert reply.json()["error"]["code"] == "missing_api_key"
