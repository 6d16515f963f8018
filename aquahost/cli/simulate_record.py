"""A simulation written down for `aquahost top --replay`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from aquahost.cli.output import say
from aquahost.events import Event
from aquahost.simulator.node import SimNode
from aquahost.simulator.snapshots import Snapshots
from aquahost.traces.trace import Trace
from aquahost.units import counted, format_bytes
from aquahost_tui.feeds.recording import Recorder

PERIOD_S = 0.5
"""Virtual time between two snapshots, where there is room for so many."""
MOST_BYTES = 20 * 10**6
"""Of a recording's file."""
_PACKED = 5
"""Recordings are packed to less than a fifth."""
_MOST_PROMPTS = 5000
"""Beyond which prompts' begins and ends are left out of the events."""
_EVENTS_SHARE = 0.3
"""Of the room, for events."""
_LEAST_AHEAD_S = 10.0


class Recording:
    """Writes a node's snapshots and events as it runs, as densely as the room for them allows.

    What is left of the room is spread over what is left of the trace, and a third of what has passed beyond it, so that
    a queue that takes long to empty can't fill the disk.
    """

    def __init__(self, recorder: Recorder, trace: Trace, *, most_bytes: int = MOST_BYTES) -> None:
        """`most_bytes`: before it is packed."""
        self._recorder = recorder
        self._last_s = trace.prompts[-1].arrival_s
        self._most_bytes = most_bytes
        self._with_prompts = len(trace.prompts) <= _MOST_PROMPTS
        self._snapshots: Snapshots | None = None
        self._due_s = 0.0
        self._events_bytes = 0
        self.nbytes = 0
        """Written so far."""
        self.taken = 0
        """Snapshots."""
        self.dropped = 0
        """Events for which there was no room."""

    def look(self, node: SimNode) -> None:
        """Call every `PERIOD_S` of virtual time, from its begin on."""
        if self._snapshots is None:
            self._snapshots = Snapshots(node, with_prompt_events=self._with_prompts)
        now_s = node.agenda.now_s()
        if now_s < self._due_s:
            return
        events, snapshot = self._snapshots.look()
        is_first = not self.taken  # a recording begins with a snapshot
        for at_s, event in [] if is_first else events:
            self._note(event, at_s, now_s)
        self._recorder.take(snapshot, now_s)
        size = len(msgspec.json.encode(snapshot))
        self.nbytes += size
        self.taken += 1
        for at_s, event in events if is_first else []:
            self._note(event, at_s, now_s)
        ahead_s = max(_LEAST_AHEAD_S, self._last_s - now_s, now_s / 3)
        left_bytes = max(1, self._most_bytes - self.nbytes)
        # Taken by the look that is nearest to when it is due.
        self._due_s = now_s + max(PERIOD_S, size * ahead_s / left_bytes) - PERIOD_S / 2

    def _note(self, event: Event, at_s: float, now_s: float) -> None:
        size = len(msgspec.json.encode(event))
        share = min(1.0, (now_s + _LEAST_AHEAD_S) / (self._last_s + _LEAST_AHEAD_S))
        if self._events_bytes + size > share * _EVENTS_SHARE * self._most_bytes:
            self.dropped += 1
            return
        self._events_bytes += size
        self.nbytes += size
        self._recorder.note(event, at_s)

    def told(self, path: Path) -> str:
        """What was written, in a line, once the file is closed."""
        thinned = "" if self._with_prompts else ", without events of single prompts"
        if self.dropped:
            thinned += f", without {self.dropped:,} of the events"
        about = f"recorded {path}: {counted(self.taken, 'snapshot')}, {format_bytes(path.stat().st_size)}{thinned}"
        return f"{about}; watch it: aquahost top --replay {path}"


@contextmanager
def recording(path: Path, trace: Trace) -> Iterator[Recording]:
    """Write to a file while this lasts, and say what was written. Raises RecordingError where that can't be."""
    recorder = Recorder(path)
    try:
        written = Recording(recorder, trace, most_bytes=MOST_BYTES * (_PACKED if path.suffix == ".gz" else 1))
        yield written
    finally:
        recorder.close()
    say(written.told(path))
