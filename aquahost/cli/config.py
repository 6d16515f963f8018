"""`aquahost config`: models.yaml, checked and shown."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from aquahost.cli.output import Column, Form, say, write, write_data, write_line, write_table
from aquahost.cli.surroundings import surroundings
from aquahost.cli.which_config import which_config
from aquahost.config import paths
from aquahost.config.loader import load
from aquahost.config.schema import json_schema
from aquahost.config.shown import shown_origins, shown_values, shown_yaml

app = typer.Typer(name="config", help="Check and show models.yaml.", no_args_is_help=True, add_completion=False)

FileArgument = Annotated[
    str | None, typer.Argument(metavar="FILE", help="A models.yaml; the user's without it.", show_default=False)
]


@app.command()
def check(context: typer.Context, file: FileArgument = None) -> None:
    """Check a models.yaml; ends with 2 and a line for each mistake.

    Environment variables are checked with it.

    Examples:

      aquahost config check

      aquahost config check ./models.yaml
    """
    env = surroundings(context).env
    path = which_config(env, file)
    settings = load(path, env).settings
    say(f"{path}: ok ({len(settings.models)} models, {len(settings.tenants)} tenants)")


@app.command()
def show(
    context: typer.Context,
    file: FileArgument = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    output: Annotated[Form, typer.Option("-o", "--output", help="yaml, json, or a table.")] = Form.YAML,
) -> None:
    """Show all settings with their defaults; keys of tenants are masked.

    A value comes from a flag of `aquahost up`, a variable, models.yaml or the default, in this order.

    Examples:

      aquahost config show --origin

      AQUAHOST_HOST__PORT=9000 aquahost config show -o json
    """
    env = surroundings(context).env
    loaded = load(which_config(env, file), env)
    if output is Form.YAML:
        write(shown_yaml(loaded, origins=origin))
    elif output is Form.JSON:
        write_data(shown_origins(loaded) if origin else shown_values(loaded), Form.JSON)
    else:
        columns = [Column("KEY"), Column("VALUE"), *([Column("ORIGIN")] if origin else [])]
        rows = [
            [key, msgspec.json.encode(entry["value"]).decode(), *([entry["origin"]] if origin else [])]
            for key, entry in shown_origins(loaded).items()
        ]
        write_table(columns, rows)


@app.command()
def path(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="All places: state, logs, cache, profiles, socket.")] = False,
) -> None:
    """Write where models.yaml is looked for.

    Examples:

      $EDITOR "$(aquahost config path)"

      aquahost config path --all
    """
    env = surroundings(context).env
    if not every:
        write_line(str(paths.config_file(env)))
        return
    places = {
        "config": paths.config_file,
        "state": paths.state_dir,
        "logs": paths.log_dir,
        "cache": paths.cache_dir,
        "profiles": paths.profile_dir,
        "runtime": paths.runtime_dir,
        "socket": paths.socket_path,
    }
    write_table([Column("WHAT"), Column("PATH")], [[what, str(place(env))] for what, place in places.items()])


@app.command()
def schema() -> None:
    """Write the JSON Schema of models.yaml, for editors.

    Examples:

      aquahost config schema > models.schema.json
    """
    write_data(json_schema(), Form.JSON)
