"""Lengths of time on the command line: "30s", "5m", "2.5"."""

from __future__ import annotations

import typer

from aquahost.units import parse_seconds


def seconds(text: str, flag: str) -> float:
    """`text` in seconds; a usage error that names `flag` otherwise."""
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"'{flag}'") from error
