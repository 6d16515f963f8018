"""The HTTP servers of one daemon: on its port, with TLS where there is a certificate, and on its Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from aquahost.api.bounded_protocol import BoundedHttpProtocol
from aquahost.api.reply_pieces import ReplyPieces
from aquahost.api.tls_door import TlsDoor
from aquahost.errors import StartError


def tls_context(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """What a port needs to speak TLS 1.2 and newer with the certificate in `cert`; None without one.

    `key` is None where the private key is in the same file. Raises StartError that says which file is at fault.
    """
    if cert is None:
        return None
    for setting, path in (("tls_cert", cert), ("tls_key", key or cert)):
        try:
            with open(path, "rb") as file:
                text = file.read()
        except OSError as error:
            raise StartError(f"host.{setting}: {path} cannot be read: {error.strerror}") from error
        if b"-----BEGIN " not in text:
            raise StartError(f"host.{setting}: {path} is no PEM file")
    asked: list[bool] = []

    def no_password() -> bytes:
        asked.append(True)
        return b""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key, no_password)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise StartError(_what_is_wrong(cert, key, error, encrypted=bool(asked))) from error
    return context


def _what_is_wrong(cert: str, key: str | None, error: OSError | ValueError, *, encrypted: bool) -> str:
    if encrypted:
        return f"host.tls_key: {key or cert} needs a password; take it off with: openssl pkey -in OLD -out NEW"
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return f"host.tls_key: {key or cert} is not the key of the certificate in {cert}"
    if key is None:
        return f"host.tls_cert: {cert} does not hold both a certificate and its private key; name that as host.tls_key"
    return f"host.tls_cert, host.tls_key: {cert} and {key} are no certificate and its private key ({error})"


class HttpServer(uvicorn.Server):
    """uvicorn that leaves signals to us and says when it listens."""

    def __init__(self, config: uvicorn.Config, listeners: Sequence[socket.socket], tls: ssl.SSLContext | None) -> None:
        """Connections of `listeners` shake hands first where `tls` is given; the protocol of `config` is then one of
        `bounded_protocol`, whose limits hold for handshakes, too."""
        if tls is not None:
            config.app = ReplyPieces(cast(ASGIApp, config.app))
        super().__init__(config)
        self.begun = asyncio.Event()
        self.listeners = list(listeners)
        self.door = None if tls is None else self._door(tls, cast(type[BoundedHttpProtocol], config.http))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: they drain the daemon first."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        try:
            if self.door is None:
                await super().startup(sockets)
            else:
                await super().startup([])
                for listener in sockets or ():
                    self.door.open(listener)
        finally:
            self.begun.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no more, and end what is open."""
        if self.door is not None:
            await self.door.close()
        await super().shutdown(sockets)

    def _door(self, tls: ssl.SSLContext, bounded: type[BoundedHttpProtocol]) -> TlsDoor:
        return TlsDoor(tls, bounded.limits, self._new_protocol, self.server_state.connections, bounded.cut)

    def _new_protocol(self) -> asyncio.Protocol:
        """As uvicorn makes them."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]  # named as the class of any protocol
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class HttpServers:
    """Servers of one app, which begin and end together. A server has one way to speak on all its listeners, so where
    there is a certificate the Unix socket has a server of its own, without."""

    def __init__(
        self,
        config: Callable[[], uvicorn.Config],
        port: socket.socket,
        unix: socket.socket,
        tls: ssl.SSLContext | None,
    ) -> None:
        """`config` makes one for each server; `port` and `unix` are bound."""
        if tls is None:
            self._servers = [HttpServer(config(), [port, unix], None)]
        else:
            self._servers = [HttpServer(config(), [port], tls), HttpServer(config(), [unix], None)]
        self._serving: list[asyncio.Task[None]] = []

    async def begin(self, on_end: Callable[[], None]) -> None:
        """Serve; returns once all listeners answer. `on_end` is called when a server ends, for whatever reason."""
        for server in self._servers:
            task = asyncio.create_task(server.serve(sockets=server.listeners))
            task.add_done_callback(lambda _: on_end())
            self._serving.append(task)
        for server in self._servers:
            await server.begun.wait()

    async def end(self) -> None:
        """Close all connections, and raise what a server ended with."""
        for server in self._servers:
            server.should_exit = True
        await asyncio.gather(*self._serving)
