"""Mistakes in models.yaml, flags and environment variables: where each is, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost.errors import ConfigError

KeyPath = tuple[str, ...]
"""Keys from the top of models.yaml; an item of a list is its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of a file, an environment variable or a flag."""

    source: str
    """File as it was named, variable, or flag."""
    line: int | None = None
    """From 1; None where the source is no file."""

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One thing to correct."""

    place: Place
    path: KeyPath
    """The key at fault; () where it is the whole file."""
    message: str
    """What is wrong and what is allowed."""

    def __str__(self) -> str:
        key = f" {dotted(self.path)}:" if self.path else ""
        return f"{self.place}:{key} {self.message}"


def dotted(path: KeyPath) -> str:
    """The path as people write it; keys with dots stand in quotes."""
    return ".".join(f'"{key}"' if "." in key else key for key in path)


def refuse(mistakes: list[Mistake]) -> None:
    """Raise a ConfigError with one line for each mistake, in the order of the file; nothing if there is none."""
    if mistakes:
        unique = {str(mistake): mistake for mistake in mistakes}
        ordered = sorted(unique.values(), key=lambda mistake: (mistake.place.source, mistake.place.line or 0))
        raise ConfigError("\n".join(str(mistake) for mistake in ordered))
