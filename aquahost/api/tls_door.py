"""The door of a port that speaks TLS: connections are bounded in time and number before they have shaken hands, too."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sized

from aquahost.api.connection_limits import DOORWAY, ConnectionLimits, Cut

FULL_S = 1.0
"""How long nobody is let in once the process has no file descriptor left."""
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class TlsDoor:
    """Accepts a port's connections. A handshake has the time that a request's head has, and counts as a connection; a
    client beyond the most is cut off, for to tell it so would take a handshake.

    An event loop's own server waits a minute for each handshake, however many there are, and tells nobody of one before
    it has ended.
    """

    def __init__(
        self,
        tls: ssl.SSLContext,
        limits: ConnectionLimits,
        new_protocol: Callable[[], asyncio.Protocol],
        connections: Sized,
        cut: Counter[str],
    ) -> None:
        """`connections` are those that came in, by a protocol of `new_protocol` each; `cut` counts those that did not,
        but for clients that left or spoke no TLS."""
        self._tls, self._limits = tls, limits
        self._new_protocol, self._connections, self._cut = new_protocol, connections, cut
        self._accepting: list[asyncio.Task[None]] = []
        self._shaking: set[asyncio.Task[None]] = set()

    @property
    def handshakes(self) -> int:
        """Connections whose handshake is to come, or has come in part."""
        return len(self._shaking)

    def open(self, listener: socket.socket) -> None:
        """Accept clients of this listener from now on, in the background."""
        listener.setblocking(False)
        self._accepting.append(asyncio.create_task(self._accept(listener)))

    async def close(self) -> None:
        """Accept nobody any more, and end what has not come in."""
        tasks = [*self._accepting, *self._shaking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:  # else of a client that is gone already
                if error.errno in _FULL:
                    await asyncio.sleep(FULL_S)
                continue
            if self.handshakes + len(self._connections) >= self._limits.max_connections + DOORWAY:
                self._cut[Cut.NO_ROOM] += 1
                client.close()
                continue
            task = loop.create_task(self._shake(client))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)

    async def _shake(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._limits.request_timeout_s
        try:
            await loop.connect_accepted_socket(
                self._new_protocol,
                client,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.request_timeout_s,
                ssl_shutdown_timeout=self._limits.unread_timeout_s,  # for the rest of a reply, too
            )
        except OSError:  # an SSLError is one: it speaks something else, is late, or gone
            if loop.time() >= due_s:
                self._cut[Cut.LATE] += 1
