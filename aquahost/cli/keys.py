"""`aquahost keys`: who may use the HTTP API."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from aquahost.cli.exits import ExitCode
from aquahost.cli.models import complete_model
from aquahost.cli.output import (
    DIM,
    Cell,
    Column,
    Form,
    FormOption,
    NamesOption,
    one_line,
    say,
    write_data,
    write_line,
    write_table,
)
from aquahost.cli.surroundings import Surroundings, surroundings
from aquahost.config import paths
from aquahost.config.names import DEFAULT_TENANT, LONGEST_NAME, NAME_PATTERN
from aquahost.errors import AquahostError
from aquahost.keys.key_file import KeyFile
from aquahost.keys.last_used import LastUsed
from aquahost.keys.record import KeyRecord

app = typer.Typer(name="keys", help="Make and revoke keys of the HTTP API.", no_args_is_help=True, add_completion=False)

_MOST_WEIGHT = 1e6
_COLUMNS = (
    Column("ID"),
    Column("NAME"),
    Column("FOR"),
    Column("WEIGHT", right=True),
    Column("MODELS"),
    Column("MADE"),
    Column("LAST USED"),
    Column("STATE"),
)


class ShownKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as `keys list` tells of it."""

    id: str
    name: str
    admin: bool
    weight: float | None
    models: tuple[str, ...] | None
    created_at: str
    last_used_at: str | None
    """To the minute."""
    revoked_at: str | None


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that has just been made."""

    id: str
    name: str
    key: str


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tenant: a user, team or program.")],
    weight: Annotated[
        float | None,
        typer.Option(help="The tenant's share of models that are fought over; 1 without it.", show_default=False),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Models that it may use; all without it.",
            autocompletion=complete_model,
            show_default=False,
        ),
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help="A key for control routes over TCP; it opens no model.")
    ] = False,
    output: FormOption = Form.TABLE,
) -> None:
    """Make a key and write it, this once.

    Only a digest of it is kept, so it cannot be shown again. A running daemon knows it at once. A name may have several
    keys, and is one tenant with all of them; one of models.yaml may have more keys here, within its models and with its
    weight. From the first key on, the API asks for one.

    Examples:

      aquahost keys add web

      aquahost keys add batch --weight 0.5 --models chat,paint

      aquahost keys add ops --admin
    """
    _check_tenant(name)
    if weight is not None and not 0 < weight <= _MOST_WEIGHT:
        raise typer.BadParameter(f"must be above 0, at most {_MOST_WEIGHT:.0f}", param_hint="'--weight'")
    if admin and (weight is not None or models is not None):
        raise typer.BadParameter(
            "an admin key opens no model, so it has no weight and no models", param_hint="'--admin'"
        )
    allowed = None if models is None else _names(models)
    around = surroundings(context)
    file = KeyFile(paths.keys_file(around.env))
    is_first = not admin and all(record.admin for record in file.read())
    record, key = file.add(name, weight=weight, models=allowed, admin=admin)
    if output is Form.TABLE:
        write_line(key)
    else:
        write_data(NewKey(id=record.id, name=name, key=key), output)
    say(
        f"key {record.id} of {name}; keep it now, it is shown only this once. "
        f"Revoke it with: aquahost keys revoke {record.id}"
    )
    if is_first:
        say("it is the first one: from now on the HTTP API asks for a key, except on the daemon's own socket")
    _warn_of_unknown(around, allowed or [])


@app.command("list")
def list_keys(
    context: typer.Context,
    every: Annotated[bool, typer.Option("-a", "--all", help="Those that are revoked, too.")] = False,
    quiet: NamesOption = False,
    output: FormOption = Form.TABLE,
) -> None:
    """List the keys, without the keys themselves.

    Those of models.yaml are not among them. LAST USED is right to the minute.

    Examples:

      aquahost keys list

      aquahost keys list --all -o json
    """
    env = surroundings(context).env
    used = LastUsed(paths.keys_used_dir(env))
    records = [record for record in KeyFile(paths.keys_file(env)).read() if every or record.is_live]
    if quiet:
        for record in records:
            write_line(record.id)
    elif output is Form.TABLE:
        write_table(_COLUMNS, [_row(_shown(record, used)) for record in records])
    else:
        write_data([_shown(record, used) for record in records], output)


@app.command()
def revoke(
    context: typer.Context,
    which: Annotated[
        list[str],
        typer.Argument(metavar="ID|NAME", help="Keys by id, or all of a name.", show_default=False),
    ],
) -> None:
    """Revoke keys: from now on they are refused.

    A running daemon knows it at once; prompts that it has taken already go on. Writes the ids of the revoked keys. Ends
    with 4 if there is no such key; the others are revoked all the same.

    Examples:

      aquahost keys revoke 3f9c1e2a

      aquahost keys revoke web
    """
    file = KeyFile(paths.keys_file(surroundings(context).env))
    code = ExitCode.OK
    for one in which:
        found = file.revoke(one)
        if not found:
            say(f"aquahost: no key in use has the id or the name {one_line(one)}; list them with: aquahost keys list")
            code = ExitCode.NOT_FOUND
        for record in found:
            write_line(record.id)
            say(f"key {record.id} of {record.name}: revoked")
    raise typer.Exit(code)


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not names:
        raise typer.BadParameter("names no model", param_hint="'--models'")
    for name in names:
        _check_name(name, "'--models'")
    return names


def _check_tenant(name: str) -> None:
    _check_name(name, "'NAME'")
    if name == DEFAULT_TENANT:
        why = f"{name} is the name of whoever asks over the daemon's own socket; take another"
        raise typer.BadParameter(why, param_hint="'NAME'")


def _check_name(name: str, hint: str) -> None:
    if len(name) > LONGEST_NAME or not re.fullmatch(NAME_PATTERN, name):
        raise typer.BadParameter(
            f"not a name; letters, digits and . _ - : / are allowed (at most {LONGEST_NAME}, first a letter or digit)",
            param_hint=hint,
        )


def _warn_of_unknown(around: Surroundings, names: list[str]) -> None:
    """Say which models the running daemon does not host; nothing where none runs."""
    if not names:
        return
    try:
        with around.client(timeout_s=1.0) as client:
            hosted = {model.name for model in client.snapshot().models}
    except AquahostError:
        return
    if missing := [name for name in names if name not in hosted]:
        say(f"the running daemon hosts no model named {' nor '.join(missing)}")


def _shown(record: KeyRecord, used: LastUsed) -> ShownKey:
    at = used.at(record.id)
    return ShownKey(
        id=record.id,
        name=record.name,
        admin=record.admin,
        weight=record.weight,
        models=record.models,
        created_at=record.created_at,
        last_used_at=None if at is None else _minute(at),
        revoked_at=record.revoked_at,
    )


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes").replace("+00:00", "Z")


def _row(key: ShownKey) -> list[Cell | str]:
    return [
        key.id,
        one_line(key.name),
        "control" if key.admin else "prompts",
        "-" if key.weight is None else f"{key.weight:g}",
        "-" if key.admin else "all" if key.models is None else ", ".join(key.models),
        key.created_at,
        key.last_used_at or "never",
        Cell("revoked", DIM) if key.revoked_at else "in use",
    ]
