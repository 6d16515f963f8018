"""What the help says: the keys, from the bindings themselves, and what colours, glyphs and states mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from textual.binding import ActiveBinding, Binding
from textual.dom import DOMNode

from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import LeaseState, ModelState
from aquahost_tui.screens.top_screen import TopScreen
from aquahost_tui.widgets.bars import PARTS
from aquahost_tui.widgets.cells import LEASE_TONES, MODEL_TONES, PROMPT_TONES, Tone
from aquahost_tui.widgets.link_matrix import GLYPHS

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: a key or a sign, in its colour, and what it means."""

    sign: str
    meaning: str
    colour: str = "$text-accent"


@dataclass(frozen=True, slots=True)
class Section:
    """Some lines under a heading."""

    title: str
    entries: list[Entry] = field(default_factory=list)


PROMPT_MEANINGS = {
    PromptState.WAITING: "not begun; LINE is its place, NEXT its turn",
    PromptState.PREFILLING: "its input is being read",
    PromptState.RUNNING: "takes part in steps",
    PromptState.SUSPENDED: "stopped for a slice of others; “paged to …” says where its KV is",
}
MODEL_MEANINGS = {
    ModelState.UNLOADED: "not on any GPU",
    ModelState.LOADING: "its weights are on their way",
    ModelState.READY: "takes prompts; parked: its weights are away until the next one",
    ModelState.DRAINING: "takes no new prompts, ends those it has",
    ModelState.FAILED: "could not be loaded, or died too often",
}
LEASE_MEANINGS = {
    LeaseState.REQUESTED: "asked for",
    LeaseState.GRANTED: "the donor lends; not mapped yet",
    LeaseState.MAPPED: "in use by the borrower",
    LeaseState.RECALLING: "the donor wants it back until the deadline",
    LeaseState.RETURNED: "back with its donor",
    LeaseState.LOST: "gone with a GPU or a worker",
}


def key_sections(screen: TopScreen) -> list[Section]:
    """The keys that work there now: of what has the focus, of the screen, and everywhere."""
    by_node: dict[DOMNode, dict[str, tuple[Binding, list[str]]]] = {}
    for active in screen.active_bindings.values():
        if (name := _name(active)) is not None:
            _, keys = by_node.setdefault(active.node, {}).setdefault(name, (active.binding, []))
            keys.append(screen.app.get_key_display(replace(active.binding, key_display=None)))
    order = [node for node in by_node if node not in (screen, screen.app)] + [screen, screen.app]
    return [
        Section(_title(node, screen), [_key_entry(binding, keys) for binding, keys in by_node[node].values()])
        for node in order
        if node in by_node
    ]


def meaning_sections() -> list[Section]:
    """What is not a key."""
    return [
        Section("memory of a GPU", [Entry(part.glyph, part.name, part.colour) for part in PARTS]),
        _states("prompts", PROMPT_MEANINGS, PROMPT_TONES),
        _states("models", MODEL_MEANINGS, MODEL_TONES),
        _states("leases", LEASE_MEANINGS, LEASE_TONES),
        Section("links", [Entry(glyph, meaning, tone.variable) for glyph, tone, meaning in GLYPHS]),
        Section("filters", [*_FILTERS]),
    ]


_FILTERS = (
    Entry("chat gold", "rows that have both words"),
    Entry("!paged", "rows that do not have this word"),
)


def _states(title: str, meanings: Mapping[S, str], tones: Mapping[S, Tone]) -> Section:
    return Section(title, [Entry(str(state), meaning, tones[state].variable) for state, meaning in meanings.items()])


def _name(active: ActiveBinding) -> str | None:
    """What tells bindings apart; None for those of Textual's own that are no concern of ours."""
    if active.binding.action == "command_palette":
        return "command_palette"
    return active.binding.id


def _title(node: DOMNode, screen: TopScreen) -> str:
    if node is screen:
        return f"on {screen.NAME}"
    return "everywhere" if node is screen.app else "where the cursor is"


def _key_entry(binding: Binding, keys: list[str]) -> Entry:
    return Entry(" ".join(dict.fromkeys(keys)), binding.tooltip or binding.description)
