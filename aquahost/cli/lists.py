"""Lists on the command line: "fair,fcfs"."""

from __future__ import annotations

from collections.abc import Iterable

import typer


def listed(text: str, flag: str, known: Iterable[str]) -> list[str]:
    """The names in a list with commas, each once, in the order given; a usage error that names `flag` for others."""
    names = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is not {one_of(known)}", param_hint=f"'{flag}'")
    if not names:
        raise typer.BadParameter(f"names none of {', '.join(known)}", param_hint=f"'{flag}'")
    return names


def one_of(names: Iterable[str]) -> str:
    """These, in words."""
    return f"one of {', '.join(names)}"
