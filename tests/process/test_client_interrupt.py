"""A client that is cut from another thread than the one that waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from api_server import ApiServer, wait_until
from aquahost.client import Client, TextPiece
from aquahost.clock import SystemClock
from aquahost.errors import UnreachableError
from aquahost.messages.prompts import Request
from aquahost_tui.stream import Stream
from fake_daemon import FakeDaemon, FakeStream, hang


def silent(stream: FakeStream, request: Request) -> None:
    """Not even accept."""


@pytest.mark.parametrize("script", [hang, silent])
def test_a_reader_wakes_and_its_prompt_is_cancelled(
    script: Callable[[FakeStream, Request], None], tmp_path: Path
) -> None:
    daemon = FakeDaemon(script=script)
    socket = tmp_path / "s"
    errors: list[Exception] = []

    def read(client: Client) -> None:
        try:
            list(client.chat("chat", [{"role": "user", "content": "hi"}]))
        except UnreachableError as error:
            errors.append(error)

    with ApiServer(daemon, socket), Client(socket) as client:
        reader = threading.Thread(target=read, args=(client,), daemon=True)
        reader.start()
        wait_until(lambda: bool(daemon.streams))
        client.interrupt()
        reader.join(10)
        assert not reader.is_alive()
        assert len(errors) == 1
        wait_until(lambda: daemon.streams[0].cancelled)
        with pytest.raises(UnreachableError):
            client.snapshot()


def test_interrupting_a_client_that_has_no_connection(tmp_path: Path) -> None:
    with ApiServer(FakeDaemon(), tmp_path / "s"), Client(tmp_path / "s") as client:
        client.interrupt()
        with pytest.raises(UnreachableError):
            client.snapshot()


def test_a_stream_that_is_stopped_cancels_its_prompt(tmp_path: Path) -> None:
    daemon = FakeDaemon(script=hang)
    socket = tmp_path / "s"
    with ApiServer(daemon, socket):
        stream = Stream(
            lambda: Client(socket),
            lambda client, _: client.chat("chat", [{"role": "user", "content": "hi"}]),
            SystemClock(),
        )
        came = []
        wait_until(lambda: bool(came.extend(stream.take()) or came))
        assert [item for _, item in came] == [TextPiece("Hm")]
        stream.stop()
        wait_until(lambda: stream.is_over)
        assert stream.trouble is None
        wait_until(lambda: daemon.streams[0].cancelled)
