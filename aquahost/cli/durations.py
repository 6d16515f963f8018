"""Lengths of time on the command line: "30s", "5m", "2.5"."""

from __future__ import annotations

import typer

from aquahost.units import parse_seconds

_LONGEST_S = 7 * 24 * 3600.0


def seconds(text: str, flag: str) -> float:
    """`text` in seconds; a usage error that names `flag` otherwise."""
    try:
        length_s = parse_seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"'{flag}'") from error
    if length_s > _LONGEST_S:
        raise typer.BadParameter("is longer than 7 days", param_hint=f"'{flag}'")
    return length_s
