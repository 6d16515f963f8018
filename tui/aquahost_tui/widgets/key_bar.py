"""The last line: the keys that do something here.

Textual's own footer makes a widget for each key and lays the whole screen out again whenever the focus moves, which
took longer than all else that a key does.
"""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

_ALWAYS = ("app.help", "app.quit")
"""Ids of bindings that stay where there is no room for all."""


@dataclass(frozen=True, slots=True)
class _Key:
    key: str
    shown: str
    words: str
    stays: bool

    @property
    def width(self) -> int:
        return len(self.shown) + len(self.words) + 3


class KeyBar(Widget):
    """Keys and what they do, as many as fit; a click on one is as good as the key."""

    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; background: $panel; color: $foreground; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: list[_Key] = []

    def on_mount(self) -> None:
        """Follow the focus."""
        self.screen.bindings_updated_signal.subscribe(self, self._find_keys)

    def render(self) -> Content:
        """A key, its words, a gap."""
        pieces = [Content.assemble((f" {key.shown} ", "bold $text-accent"), f"{key.words} ") for key in self._fitting()]
        return Content("").join(pieces)

    def on_click(self, event: events.Click) -> None:
        """Press the key that was clicked."""
        left = 0
        for key in self._fitting():
            if left <= event.x < left + key.width:
                self.app.simulate_key(key.key)
                return
            left += key.width

    def _find_keys(self, screen: Screen[object]) -> None:
        found: dict[str, _Key] = {}
        for _, binding, enabled, _ in screen.active_bindings.values():
            if not binding.show or not enabled:
                continue
            name = binding.group.description if binding.group is not None else binding.action
            before = found.get(name)
            found[name] = self._joined(before, binding)
        keys = list(found.values())
        if keys != self._keys:
            self._keys = keys
            self.refresh()

    def _joined(self, before: _Key | None, binding: Binding) -> _Key:
        """A binding's key, or one of several keys that share their words."""
        shown = self.app.get_key_display(binding)
        if before is None:
            words = binding.group.description if binding.group is not None else binding.description
            return _Key(binding.key, shown, words, binding.id in _ALWAYS)
        if binding.group is None:
            return before
        return _Key(before.key, f"{before.shown}/{shown}", before.words, before.stays)

    def _fitting(self) -> list[_Key]:
        keys = list(self._keys)
        while sum(key.width for key in keys) > self.size.width:
            able = [at for at, key in enumerate(keys) if not key.stays]
            if not able:
                break
            del keys[able[-1]]
        return keys
