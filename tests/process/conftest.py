"""A served fake daemon and OpenAI's client of it, for whoever asks; a test file may put its own in their place."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from api_server import ApiServer
from fake_daemon import FakeDaemon


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def server(daemon: FakeDaemon) -> Iterator[ApiServer]:
    with ApiServer(daemon) as running:
        yield running


@pytest.fixture
def client(server: ApiServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as made:
        yield made
