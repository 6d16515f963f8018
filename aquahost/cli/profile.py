"""`aquahost profile`: what models cost on a GPU, measured here or worked out for a GPU one does not have."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aquahost.cli.ended import ended_by_sigterm
from aquahost.cli.output import Form, FormOption, say, write_data
from aquahost.cli.profile_bar import profile_progress
from aquahost.cli.profile_table import show_list, show_profile
from aquahost.cli.surroundings import surroundings
from aquahost.cli.which_config import which_config
from aquahost.config.loader import load_settings
from aquahost.config.settings import Kind, Settings
from aquahost.errors import ConfigError
from aquahost.profiles.data_sheets import SHEETS

if TYPE_CHECKING:
    from aquahost.profiles.profile import Profile

_GPU_HELP = f"Work it out for this GPU (H100, or 2xH100) instead; there are {', '.join(SHEETS)}."
_KIND_HELP = "What it makes, where MODEL is no entry of models.yaml; told from its config without it."


def profile(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="An entry of models.yaml, a folder, or demo:chat.", show_default=False),
    ] = None,
    models: Annotated[
        str | None, typer.Option("--models", metavar="FILE", help="A models.yaml; the user's without it.")
    ] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", metavar="NAME", help=_GPU_HELP)] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help=_KIND_HELP)] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the stored profiles.")] = False,
    output: FormOption = Form.TABLE,
) -> None:
    """Measure what a model costs on a GPU, or work it out.

    Memory, step times and paging are measured with the model loaded alone, by its real engine on this machine's GPU;
    other work on the machine spoils the figures. That takes about a minute for a small model on a quiet machine. With
    --gpu nothing is run: costs are worked out from the model's config, for which no weights are needed, and the GPU's
    data sheet. Profiles are kept, and used by `aquahost plan`, `aquahost simulate` and, from its next start on, by the
    daemon's schedulers.

    Examples:

      aquahost profile chat

      aquahost profile demo:chat -o json

      aquahost profile ./examples/configs/Llama-3.1-70B --gpu 2xH100

      aquahost profile --list
    """
    if listed:
        if model is not None:
            raise typer.BadParameter("--list takes no MODEL", param_hint="'MODEL'")
        _list(output)
        return
    if model is None:
        raise typer.BadParameter("name a model, or use --list", param_hint="'MODEL'")
    env = surroundings(context).env
    file = which_config(env, models, quiet=_is_source(model))
    name, settings = _entry(model, kind, load_settings(file, env), file)
    found = _measured(name, settings) if gpu is None else _worked_out(name, settings, gpu)
    if output is Form.TABLE:
        show_profile(name, found)
    else:
        write_data(found, output)


def _measured(name: str, settings: Settings) -> Profile:
    from aquahost.profiler import store
    from aquahost.profiler.measured import measure

    with ended_by_sigterm(), profile_progress(name, time.monotonic) as progress:
        found = measure(name, settings.models[name], settings, progress)
    path = store.save(found)
    say(f"measured on {found.gpu}; kept in {path}")
    return found


def _worked_out(name: str, settings: Settings, gpu: str) -> Profile:
    from aquahost.profiler import store
    from aquahost.profiler.lookup import analytic_profile
    from aquahost.profiles.data_sheets import parse_node

    node = parse_node(gpu)
    entry = settings.models[name]
    if node.gpus > 1:
        if entry.kind is not Kind.LLM:
            raise ConfigError(f"--gpu {gpu}: only language models are held by several GPUs together")
        entry = entry.model_copy(update={"tensor_parallel": node.gpus})
    found = analytic_profile(name, entry, node.sheet, settings.scheduler)
    path = store.save(found)
    say(f"worked out from the model's config and the data sheet of {node.sheet.name}, not measured; kept in {path}")
    return found


def _list(output: Form) -> None:
    from aquahost.profiler import store

    found = store.all_profiles()
    if output is Form.TABLE:
        show_list(found)
    else:
        write_data(found, output)


def _is_source(model: str) -> bool:
    """Whether a name that is no entry's says where a model is."""
    return "/" in model or model.startswith("demo:")


def _entry(model: str, kind: Kind | None, settings: Settings, file: Path) -> tuple[str, Settings]:
    """The entry of that name, or one made for a source; its name, and settings that have it."""
    if model in settings.models:
        if kind is not None:
            raise ConfigError(f"--kind: {model} is an entry of {file}, which says its kind")
        return model, settings
    if not _is_source(model):
        raise ConfigError(
            f"{file} has no model {model}; it has {', '.join(settings.models) or 'none'} "
            "(a folder is written with a /, as in ./my-model)"
        )
    from aquahost.profiler.any_source import entry_of

    is_folder = model.startswith((".", "~", "/")) or Path(model).is_dir()
    source = str(Path(model).expanduser().resolve()) if is_folder else model
    return source, settings.model_copy(update={"models": {source: entry_of(source, kind)}})
