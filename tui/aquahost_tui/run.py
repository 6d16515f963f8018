"""Where the UI is put together: what the command calls."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aquahost.client import Client
from aquahost.clock import SystemClock
from aquahost_tui.app import AquahostApp
from aquahost_tui.feeds.live import LiveFeed
from aquahost_tui.feeds.recording import RecordedFeed, Recorder, RecordingError
from aquahost_tui.feeds.replay import ReplayFeed
from aquahost_tui.steering import Steering


def watch_daemon(
    make_client: Callable[[], Client], *, per_s: float, readonly: bool, record: Path | None, theme: str | None
) -> int:
    """Show a daemon until one leaves; returns an exit code. Raises RecordingError if what is seen cannot be written."""
    steering = Steering(make_client, readonly=readonly)
    clock = SystemClock()
    feed = LiveFeed(make_client, clock, per_s=per_s)
    if record is None:
        return _run(AquahostApp(feed, steering, theme=theme))
    recorder = Recorder(record)
    try:
        return _run(AquahostApp(RecordedFeed(feed, recorder, clock), steering, theme=theme))
    finally:
        # Here, since the feed's thread may wait for a daemon that says nothing.
        recorder.close()


def watch_recording(path: Path, *, speed: float, theme: str | None) -> int:
    """Play a recording until one leaves; returns an exit code. Raises RecordingError if it cannot be played."""
    return _run(AquahostApp(ReplayFeed(path, SystemClock(), speed=speed), Steering(None, readonly=True), theme=theme))


def _run(app: AquahostApp) -> int:
    with _left_by_sigterm(app):
        app.run()
    if app.failure is not None:
        raise RecordingError(app.failure)
    return app.return_code or 0


@contextmanager
def _left_by_sigterm(app: AquahostApp) -> Iterator[None]:
    """SIGTERM leaves as a key does, so that the terminal is as it was."""
    previous = signal.signal(signal.SIGTERM, lambda *_: app.exit(return_code=128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
