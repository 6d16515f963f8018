"""`aquahost plan`: which model where, and who lends to whom; of this machine or of one that one does not have."""

from __future__ import annotations

from typing import Annotated

import typer

from aquahost.cli.output import Form, FormOption, write_data
from aquahost.cli.plan_bar import plan_progress
from aquahost.cli.surroundings import surroundings
from aquahost.cli.which_config import which_config
from aquahost.config.loader import load_settings
from aquahost.profiles.data_sheets import SHEETS

_GPUS_HELP = f"Plan for a server like 8xH100, of {', '.join(SHEETS)}; this machine without it."


def plan(
    context: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A models.yaml; the user's without it.", show_default=False)
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option("--gpus", metavar="NODE", help=_GPUS_HELP),
    ] = None,
    servers: Annotated[int, typer.Option(min=1, max=1024, help="So many of them.")] = 1,
    output: FormOption = Form.TABLE,
) -> None:
    """Say which model goes on which GPU, who lends to whom, and why.

    Every model is placed, several on a GPU if they fit, by what it takes (its profile) and what is expected to be
    asked of it (traffic in models.yaml). With --gpus profiles that were not measured on such a GPU are worked out from
    the models' configs; without it they must have been measured here: aquahost profile MODEL. Models that do not fit
    end with 2, and what would make them fit.

    Examples:

      aquahost plan

      aquahost plan examples/node8.yaml --gpus 8xH100

      aquahost plan models.yaml --gpus 8xH200 --servers 4 -o json
    """
    env = surroundings(context).env
    settings = load_settings(which_config(env, file), env)

    from aquahost.cli.plan_node import planned_node
    from aquahost.cli.plan_table import show_plan
    from aquahost.placement.needs import needs_of
    from aquahost.placement.planner import make_plan
    from aquahost.quiet_stdout import quiet_stdout

    node = planned_node(settings, gpus, servers, env)
    needs = needs_of(settings.models, node.profiles, settings.scheduler)
    with plan_progress() as report, quiet_stdout():
        made = make_plan(needs, node.fleet, report)
    if output is Form.TABLE:
        show_plan(made, node)
    else:
        write_data(made, output)
