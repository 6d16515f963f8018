"""What a reload of models.yaml comes to: an answer of the daemon's, for people and programs."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Effect(StrEnum):
    """What becomes of one change, in the words that people read."""

    AT_ONCE = "in effect"
    LOADS = "loads"
    NOT_LOADED = "not loaded"
    """It holds whenever the model is loaded next; nothing is to be done now."""
    UNLOADS = "drains, then unloads"
    LOADS_ANEW = "drains, then loads anew"
    RESTART = "needs a restart"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One key of models.yaml, or a whole entry, that is not as it was."""

    key: str
    """Dotted, as people write it: "models.chat.max_queue"."""
    change: str
    """ "added", "removed", or "256 → 32"; of a secret no more than "changed"."""
    effect: Effect


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What was read, and what has changed by it. Models go on draining and loading after this answer."""

    file: str
    changes: list[Change]
