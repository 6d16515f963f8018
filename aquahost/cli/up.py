"""`aquahost up`: the daemon's start."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from aquahost.cli.detached import Detached, start_detached
from aquahost.cli.exits import ExitCode
from aquahost.cli.follow import load_progress, report_failures, wait_loaded
from aquahost.cli.gpus import EMULATED
from aquahost.cli.output import say
from aquahost.cli.surroundings import Surroundings, surroundings
from aquahost.cli.which_config import which_config
from aquahost.config.loader import Override, load
from aquahost.config.paths import log_file
from aquahost.config.settings import Settings
from aquahost.config.source import SettingsSource
from aquahost.errors import RequestError, StartError, UnreachableError


def up(
    context: typer.Context,
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Run in the background.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="With -d (which it implies): return once all models are loaded.")
    ] = False,
    models: Annotated[
        str | None, typer.Option(metavar="FILE", help="The models.yaml to host.", show_default=False)
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Host the packaged demo.")] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the HTTP API; 0 takes a free one.", show_default=False)
    ] = None,
    driver: Annotated[
        Literal["auto", "cuda", "emulated"] | None, typer.Option(help="Which GPUs to use.", show_default=False)
    ] = None,
) -> None:
    """Start the daemon and load its models.

    In the foreground until Ctrl-C, or in the background with -d. A mistake in models.yaml ends with 2 before anything
    is started; with --wait, a model that fails ends with 1, and the daemon goes on with the others.

    Examples:

      aquahost up

      aquahost up -d --wait --models models.yaml

      aquahost up --demo --port 9000
    """
    around = surroundings(context)
    path = which_config(around.env, models, demo=demo)
    overrides = _overrides(port, driver)
    settings = load(path, around.env, overrides).settings
    if not settings.models:
        say(f"{path}: no models to host")
    if not (detach or wait):
        from aquahost.serve import serve

        source = SettingsSource(path=path.absolute(), env=around.env, overrides=overrides)
        raise typer.Exit(serve(settings, source=source))
    arguments = ["--models", str(path.absolute())]
    arguments += ["--port", str(port)] if port is not None else []
    arguments += ["--driver", driver] if driver is not None else []
    _refuse_second(around)
    daemon = start_detached(arguments, around.env, log_file(None, around.env))
    try:
        snapshot = daemon.answers(around)
    except KeyboardInterrupt:
        daemon.process.terminate()
        raise
    say(f"the daemon answers (pid {snapshot.pid}); stop it with: aquahost down")
    if snapshot.driver == "emulated":
        say(EMULATED)
    if wait:
        _wait(around, daemon, settings)


def _overrides(port: int | None, driver: str | None) -> tuple[Override, ...]:
    given = (("--port", ("host", "port"), port), ("--driver", ("host", "driver"), driver))
    return tuple(Override(flag=flag, path=path, value=value) for flag, path, value in given if value is not None)


def _refuse_second(around: Surroundings) -> None:
    try:
        with around.client() as client:
            pid = client.snapshot().pid
    except UnreachableError:
        return
    raise StartError(f"a daemon runs already (pid {pid}); stop it with: aquahost down")


def _wait(around: Surroundings, daemon: Detached, settings: Settings) -> None:
    names = [name for name, model in settings.models.items() if model.autoload]
    try:
        with around.client() as client, load_progress() as show:
            loaded = wait_loaded(client, names, show, around.sleep)
    except (UnreachableError, RequestError) as error:
        raise StartError(daemon.last_words() if daemon.process.poll() is not None else str(error)) from error
    if report_failures(loaded):
        raise typer.Exit(ExitCode.FAILED)
