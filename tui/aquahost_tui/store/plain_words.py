"""Words that come from elsewhere, without what would move a terminal's cursor or do worse. Pure."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from aquahost.events import Event
from aquahost.messages.snapshot import Snapshot

S = TypeVar("S", bound=msgspec.Struct)


def printable(text: str) -> str:
    """Text with its lines and tabs, but with "\\ufffd" for any other character that cannot be printed."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)


def one_line(text: str) -> str:
    """Printable text with its lines joined to one."""
    return text if text.isprintable() else printable(" ".join(text.split()))


def plain_event(event: Event) -> Event:
    """An event whose message is one printable line."""
    return _changed(event, message=one_line(event.message))


def plain_snapshot(snapshot: Snapshot) -> Snapshot:
    """A snapshot whose reasons are printable."""
    return _changed(
        snapshot,
        gpus=[_changed(gpu, lost=gpu.lost and one_line(gpu.lost)) for gpu in snapshot.gpus],
        models=[_changed(model, reason=model.reason and printable(model.reason)) for model in snapshot.models],
        links=[_changed(link, reason=one_line(link.reason)) for link in snapshot.links],
        lending_trouble=snapshot.lending_trouble and one_line(snapshot.lending_trouble),
    )


def _changed(one: S, **fields: object) -> S:
    """The same one where nothing changes, which is nearly always."""
    if all(getattr(one, name) == value for name, value in fields.items()):
        return one
    return msgspec.structs.replace(one, **fields)
