"""Signs of life, from a thread of their own, which also watches for the daemon's end."""

from __future__ import annotations

import threading

import zmq

from aquahost.messages.wire import Heartbeat
from aquahost.worker.lifeline import kill_group, wait_for_end
from aquahost.worker.link import DaemonLink

PERIOD_S = 0.5


class Pulse:
    """What the loop is doing, written by the loop and read by the heartbeat; each field is one atomic store."""

    __slots__ = ("busy", "passes")

    def __init__(self) -> None:
        self.passes = 0
        """Passes of the loop so far."""
        self.busy = False
        """Whether the loop is at work, which is whenever it does not wait for messages."""


class HeartbeatThread:
    """Sends a `Heartbeat` every `PERIOD_S`, however long a step takes, and ends the process with the daemon.

    It has a ZeroMQ context of its own, so that the loop's can be closed without waiting for it; it ends with the
    process.
    """

    def __init__(self, endpoint: str, identity: bytes, pulse: Pulse) -> None:
        self._endpoint = endpoint
        self._identity = identity
        self._pulse = pulse
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        link = DaemonLink(zmq.Context(), self._endpoint, self._identity)
        while True:
            link.send(Heartbeat(self._pulse.passes, self._pulse.busy))
            if wait_for_end(PERIOD_S):
                kill_group()
