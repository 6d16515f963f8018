"""`aquahost events`: what happened."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer

from aquahost.cli.output import Column, Form, FormOption, one_line, write_data, write_line, write_table
from aquahost.cli.surroundings import surroundings
from aquahost.events import Event, EventKind

_KIND_WIDTH = max(len(kind) for kind in EventKind)
_COLUMNS = (Column("AT"), Column("KIND"), Column("MESSAGE"))


def events(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new ones until interrupted.")] = False,
    output: FormOption = Form.TABLE,
) -> None:
    """Show what happened, as it happens with -f.

    Models that load, park and wake, leases granted and recalled, workers that die, prompts from queue to end. With
    `-f -o json` each line is one event.

    Examples:

      aquahost events

      aquahost events -f -o json
    """
    with surroundings(context).client() as client:
        last = client.snapshot().last_event_seq
        if follow:
            for event in client.events():
                _write_line(event, output)
                sys.stdout.flush()
            return
        past: list[Event] = []
        if last:
            for event in client.events():
                past.append(event)
                if event.seq >= last:
                    break
    if output is Form.TABLE:
        write_table(_COLUMNS, [[event.at, str(event.kind), one_line(event.message)] for event in past])
    else:
        write_data(past, output)


def _write_line(event: Event, form: Form) -> None:
    if form is Form.TABLE:
        write_line(f"{event.at}  {event.kind:<{_KIND_WIDTH}}  {one_line(event.message)}")
    elif form is Form.JSON:
        write_line(msgspec.json.encode(event).decode())
    else:
        write_data([event], form)
