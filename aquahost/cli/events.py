"""`aquahost events`: what happened."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from aquahost.cli.output import Column, Form, FormOption, one_line, write_data, write_line, write_table
from aquahost.cli.surroundings import Surroundings, surroundings
from aquahost.events import Event, EventKind
from aquahost.units import parse_seconds

if TYPE_CHECKING:
    from aquahost.client import Client

_KIND_WIDTH = max(len(kind) for kind in EventKind)
_COLUMNS = (Column("AT"), Column("KIND"), Column("MESSAGE"))


def events(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new ones until interrupted.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="From the journal, earlier runs included: those of the last 30m, or since 2026-11-30T09:00Z.",
            show_default=False,
        ),
    ] = None,
    output: FormOption = Form.TABLE,
) -> None:
    """Show what happened, as it happens with -f.

    Models that load, park and wake, leases granted and recalled, workers that die, prompts from queue to end. With
    `-f -o json` each line is one event. With --since no daemon needs to run.

    Examples:

      aquahost events

      aquahost events --since 2h

      aquahost events -f -o json
    """
    around = surroundings(context)
    start = _start(since) if since is not None else None
    past = list(_journal(around, start)) if start is not None else []
    if follow:
        _follow(around, past, start, output)
        return
    if start is None:
        with around.client() as client:
            past = list(_kept(client))
    if output is Form.TABLE:
        write_table(_COLUMNS, [[event.at, str(event.kind), one_line(event.message)] for event in past])
    else:
        write_data(past, output)


def _start(since: str) -> datetime:
    """The time from which on events are wanted."""
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_seconds(since))
    except (ValueError, OverflowError):
        pass
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        wanted = f"{since!r} is no time; write how long ago, like 30m or 2h, or a date like 2026-11-30T09:00Z"
        raise typer.BadParameter(wanted, param_hint="'--since'") from None
    return at.astimezone(UTC)  # without a zone it is the terminal's


def _journal(around: Surroundings, start: datetime) -> Iterator[Event]:
    from aquahost.config.paths import journal_file
    from aquahost.daemon.journal import read_journal

    for event in read_journal(journal_file(around.env)):
        if _at(event) >= start:
            yield event


def _at(event: Event) -> datetime:
    return datetime.fromisoformat(event.at)


def _kept(client: Client) -> Iterator[Event]:
    """Those that the daemon keeps in memory."""
    last = client.snapshot().last_event_seq
    if last:
        for event in client.events():
            yield event
            if event.seq >= last:
                return


def _follow(around: Surroundings, past: list[Event], start: datetime | None, form: Form) -> None:
    with around.client() as client:
        run_id = client.snapshot().run_id
        for event in past:
            _write_line(event, form)
        seen = [event.seq for event in past if getattr(event, "run", "") == run_id]
        for event in client.events(max(seen, default=0)):
            if start is None or _at(event) >= start:
                _write_line(event, form)
                sys.stdout.flush()


def _write_line(event: Event, form: Form) -> None:
    if form is Form.TABLE:
        write_line(f"{event.at}  {event.kind:<{_KIND_WIDTH}}  {one_line(event.message)}")
    elif form is Form.JSON:
        write_line(msgspec.json.encode(event).decode())
    else:
        write_data([event], form)
