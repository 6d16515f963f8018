"""A log's text as whole lines, followed while it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aquahost.client import Client
from aquahost.clock import Clock
from aquahost_tui.steering import Steering
from aquahost_tui.store.plain_words import printable
from aquahost_tui.stream import Pause, Stream

LAST_LINES = 500
"""Of what was written before."""
MOST_REST = 16_384
"""Characters of a line that has not ended; of longer ones the end is kept."""
_ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|.)")
"""What programs write to colour their output or to move the cursor."""


class LogText:
    """The log of a model's worker, or of the daemon itself, from its last lines on."""

    def __init__(self, steering: Steering, model: str | None, clock: Clock) -> None:
        """Begins at once; `model` None is the daemon."""

        def read(client: Client, pause: Pause) -> Iterable[str]:
            return client.logs(model, lines=LAST_LINES, follow=True)

        self._stream = Stream(steering.watching, read, clock)
        self._rest = ""

    def take(self) -> list[str]:
        """Whole lines that have come since the last call."""
        text = self._rest + "".join(piece for _, piece in self._stream.take())
        *lines, rest = text.split("\n")
        self._rest = _unfinished(rest)
        if self._stream.is_over and self._rest:
            lines.append(self._rest)
            self._rest = ""
        return [plain_line(line) for line in lines]

    @property
    def is_over(self) -> bool:
        """Whether no more comes."""
        return self._stream.is_over

    @property
    def trouble(self) -> str:
        """Why no more comes."""
        return self._stream.trouble or "the log has ended"

    def stop(self) -> None:
        """Follow it no longer; does not wait."""
        self._stream.stop()


def _unfinished(rest: str) -> str:
    """What may still be seen of a line that has not ended: progress bars write the same line again and again."""
    written = rest.rstrip("\r")
    return rest[max(written.rfind("\r") + 1, len(rest) - MOST_REST) :]


def plain_line(line: str) -> str:
    """A line as a terminal would leave it: without colours, and of what overwrote itself the last."""
    shown = _ESCAPE.sub("", line.rstrip("\r"))
    return printable(shown.rpartition("\r")[2]).expandtabs(8)
