"""The sockets that the HTTP API listens on, bound before anything slow begins."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from aquahost.config.paths import private_dirs
from aquahost.errors import StartError

LONGEST_SOCKET_PATH = 107
"""Bytes in the path of a Unix socket, as Linux has it."""
BACKLOG = 1024
KEEP_ALIVE_S = 20
"""Silence after which the system asks an idle TCP client for a sign of life, and time between two such questions."""
KEEP_ALIVES = 3
"""Questions without an answer after which it counts as gone."""


def check_socket_path(path: Path) -> None:
    """Raises StartError if `path` is longer than the system allows for a socket."""
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise StartError(f"the path {path} is too long for a socket; set AQUAHOST_RUNTIME_DIR to a shorter one")


def listen_tcp(host: str, port: int) -> socket.socket:
    """Listen on a TCP port; 0 takes any free one. Raises StartError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except socket.gaierror as error:
        raise StartError(f"cannot listen on {host!r}: {error.strerror}; host.listen must be this machine's") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {port} on {host} is taken; choose another with --port (0 takes any free one)"
            ) from error
        raise StartError(f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}") from error


def notice_dead_clients(listener: socket.socket, silent_s: float) -> None:
    """Have the system end TCP connections of `listener` whose client is gone without a word, as when its machine lost
    its power: those that owe us an acknowledgement after `silent_s`, and idle ones somewhat later.

    Without that a prompt would run on for nobody, and its connection stay for hours.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_ALIVE_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEP_ALIVES)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1000, round(silent_s * 1000)))


def listen_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket that only this user may open (0600), in place of one whose daemon is dead.

    Raises StartError if a daemon listens there, or if the socket cannot be made.
    """
    check_socket_path(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            _refuse_if_served(path)
            path.unlink()
        private_dirs(path.parent)
        # The mask, because a mode changed afterwards would leave a moment in which others may connect.
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot make the socket {path}: {error.strerror}") from error
    except StartError:
        listener.close()
        raise
    return listener


def _refuse_if_served(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            probe.connect(str(path))
            raise StartError(f"a daemon already listens on {path}; stop it, or set AQUAHOST_SOCKET to another path")
