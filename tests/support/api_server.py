"""The API in a real uvicorn, on a TCP port and on a Unix socket, in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType

import uvicorn
import uvloop
from fastapi import FastAPI

from aquahost.api.app import build_app
from aquahost.api.http_protocol import ApiHttpProtocol
from aquahost.api.http_server import HttpServer
from fake_daemon import FakeDaemon


class ApiServer:
    """A context manager around a running server. `daemon` may be touched through `call` only, while it runs."""

    def __init__(
        self,
        daemon: FakeDaemon,
        socket_path: Path | None = None,
        *,
        http: type[ApiHttpProtocol] = ApiHttpProtocol,
        tls: ssl.SSLContext | None = None,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
    ) -> None:
        self.daemon = daemon
        app = build_app(daemon)
        self._tcp = socket.create_server(("127.0.0.1", 0), reuse_port=False)
        self.port: int = self._tcp.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._listeners = [self._tcp]
        if socket_path is not None:
            unix = socket.socket(socket.AF_UNIX)
            unix.bind(str(socket_path))
            self._listeners.append(unix)
        config = uvicorn.Config(app, http=http, log_level="critical", lifespan="off", ws="none")
        config.timeout_graceful_shutdown = 1
        self.server = HttpServer(config, self._listeners, tls)
        self._new_loop = new_loop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="api-server")

    def __enter__(self) -> ApiServer:
        self._thread.start()
        wait_until(lambda: self.server.started)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.should_exit = True
        self._thread.join()
        for listener in self._listeners:
            listener.close()

    @property
    def connections(self) -> int:
        """Connections that the server has."""
        return len(self.server.server_state.connections)

    def call(self, function: Callable[[], object]) -> None:
        """Run `function` in the server's event loop, and wait for it: a loop that is asked faster than it can answer
        does nothing else any more."""
        assert self._loop is not None

        async def run() -> None:
            function()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=30)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.server.serve(sockets=self._listeners)


class _QuietServer(uvicorn.Server):
    """uvicorn that leaves signals alone, for servers in the test's own event loop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve `app` in the running event loop on a TCP port of its own; yields its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=ApiHttpProtocol, log_level="critical", lifespan="off", ws="none")
    config.timeout_graceful_shutdown = 1
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Return once `condition` holds; raises AssertionError if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
