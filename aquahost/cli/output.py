"""What commands write: data to stdout, talk to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TextIO

import msgspec
import typer

RED, GREEN, YELLOW, DIM, BOLD = "31", "32", "33", "2", "1"


class Form(StrEnum):
    """How a listing is written."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


FormOption = Annotated[Form, typer.Option("-o", "--output", help="A table for people, or all fields for programs.")]
NamesOption = Annotated[bool, typer.Option("-q", "--quiet", help="Only names or ids, one a line.")]


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell with its colour (an SGR code, or "" for none)."""

    text: str
    colour: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column."""

    title: str
    right: bool = False


def write(text: str) -> None:
    """Data, as it is."""
    sys.stdout.write(text)


def write_line(text: str) -> None:
    """A line of data."""
    sys.stdout.write(f"{text}\n")


def say(text: str) -> None:
    """Something to know, for the person at the terminal."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def write_data(value: Any, form: Form) -> None:
    """`value` (msgspec structs or plain data) with all fields, sizes in bytes and times in seconds."""
    if form is Form.YAML:
        import yaml

        write(yaml.safe_dump(msgspec.to_builtins(value), sort_keys=False, allow_unicode=True, width=10**6))
    else:
        write_line(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def write_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell | str]]) -> None:
    """A table without borders, never cut: as wide as its contents. The last column is not padded."""
    colours = has_colour(sys.stdout)
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    titles = [Cell(column.title, BOLD) for column in columns]
    widths = [max(len(row[number].text) for row in [titles, *cells]) for number in range(len(columns))]
    for row in [titles, *cells]:
        line = "  ".join(
            painted(cell.text.rjust(width) if column.right else cell.text.ljust(width), cell.colour, colours)
            for cell, column, width in zip(row[:-1], columns[:-1], widths[:-1], strict=True)
        )
        last = row[-1].text.rjust(widths[-1]) if columns[-1].right else row[-1].text
        write_line(f"{line}  {painted(last, row[-1].colour, colours)}".rstrip())


def painted(text: str, colour: str, enabled: bool) -> str:
    """`text` in a colour, where colours are wanted."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and enabled and text.strip() else text


def has_colour(stream: TextIO) -> bool:
    """Whether to colour what is written to `stream`: on a terminal, unless NO_COLOR is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def one_line(text: str) -> str:
    """Text from elsewhere, safe to show in a table: control characters and line breaks become spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
