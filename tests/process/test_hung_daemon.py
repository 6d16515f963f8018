"""A daemon that takes connections and then says nothing."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from aquahost import client
from aquahost.client import Client
from aquahost.errors import UnreachableError


def test_a_watch_that_falls_silent_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "WATCH_SILENCE_S", 0.3)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener, Client(path) as watching:
        listener.bind(str(path))
        listener.listen()

        def begin_an_answer() -> None:
            accepted, _ = listener.accept()
            accepted.recv(65536)
            accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n")
            ended.wait(10)
            accepted.close()

        ended = threading.Event()
        daemon = threading.Thread(target=begin_an_answer)
        daemon.start()
        with pytest.raises(UnreachableError, match="does not answer"):
            list(watching.watch(per_s=30.0))
        ended.set()
        daemon.join()
