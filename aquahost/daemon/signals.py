"""What signals ask of a daemon: to drain and end, to end at once, or to read models.yaml again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys

from aquahost.daemon.daemon import Daemon
from aquahost.errors import AquahostError

logger = logging.getLogger(__name__)


class Signals:
    """SIGTERM and SIGINT drain, a second one of them ends at once; SIGHUP reloads, or drains where it means that the
    daemon's terminal is gone."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._terminal = _terminal()
        self._serves = False
        self._reloads: set[asyncio.Task[None]] = set()

    def listen(self) -> None:
        """From now on, in the running event loop."""
        loop = asyncio.get_running_loop()
        for number, then in ((signal.SIGTERM, self._stop), (signal.SIGINT, self._stop), (signal.SIGHUP, self._hang_up)):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                loop.add_signal_handler(number, then)

    def serving(self) -> None:
        """The daemon has started: it can be reloaded."""
        self._serves = True

    def _stop(self) -> None:
        again = self._daemon.shutdown_requested.is_set()
        drain_s = 0.0 if again else self._daemon.settings.host.drain_s
        logger.info(
            "stopping now" if again else f"stopping; live prompts have {drain_s:.0f} s to end, or until the next signal"
        )
        self._daemon.request_shutdown(drain_s)

    def _hang_up(self) -> None:
        if self._terminal is not None and not os.isatty(self._terminal):
            if not self._daemon.shutdown_requested.is_set():  # shells send it once more
                self._stop()
        elif self._serves:
            reload = asyncio.get_running_loop().create_task(self._reload())
            self._reloads.add(reload)
            reload.add_done_callback(self._reloads.discard)

    async def _reload(self) -> None:
        try:
            await self._daemon.configuration.reload(None)
        except AquahostError as error:
            logger.error("SIGHUP changed nothing: %s", str(error).splitlines()[0])


def _terminal() -> int | None:
    """The terminal that this process was started from, as a file descriptor; None if it was not. It is no terminal any
    more once it has been closed."""
    for stream in (sys.stdin, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            if os.isatty(stream.fileno()):
                return stream.fileno()
    return None
