"""Stop strings over streamed text."""

from __future__ import annotations


class StopStrings:
    """Holds back the end of a text that may yet become a stop string, and cuts the text where one is complete."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Add text; returns what may be shown now, and whether a stop string ended the text."""
        if not self._stops:
            return text, False
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            shown, self._held = self._held[: min(found)], ""
            return shown, True
        keep = max(self._overlap(stop) for stop in self._stops)
        at = len(self._held) - keep
        shown, self._held = self._held[:at], self._held[at:]
        return shown, False

    def flush(self) -> str:
        """The text held back, once nothing more can come."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that begins `stop`."""
        held = self._held
        return next((n for n in range(min(len(stop) - 1, len(held)), 0, -1) if held.endswith(stop[:n])), 0)
