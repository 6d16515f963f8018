"""The door of a port that speaks TLS: connections are bounded in time and number before they have shaken hands, too."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sized

from aquahost.api.connection_limits import DOORWAY, ConnectionLimits, Cut

AT_ONCE = 64
"""Most clients that are accepted before others have a turn of the loop."""
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
        self._listeners: list[socket.socket] = []
        self._shaking: set[asyncio.Task[None]] = set()

    @property
    def handshakes(self) -> int:
        """Connections whose handshake is to come, or has come in part."""
        return len(self._shaking)

    def open(self, listener: socket.socket) -> None:
        """Accept clients of this listener from now on, in the background."""
        listener.setblocking(False)
        self._listeners.append(listener)
        self._watch(listener)

    async def close(self) -> None:
        """Accept nobody any more, and end what has not come in."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            asyncio.get_running_loop().remove_reader(listener)
        tasks = list(self._shaking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _watch(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept some of those that are there: a flood of them must keep neither the others nor the loop waiting."""
        for _ in range(AT_ONCE):
            try:
                client, _address = listener.accept()
            except OSError as error:  # nobody is there (any more)
                if error.errno in _FULL:
                    loop = asyncio.get_running_loop()
                    loop.remove_reader(listener)
                    loop.call_later(FULL_S, self._watch, listener)
                return
            self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        if self.handshakes + len(self._connections) >= self._limits.max_connections + DOORWAY:
            self._cut[Cut.NO_ROOM] += 1
            client.close()
            return
        client.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._shake(client))
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
