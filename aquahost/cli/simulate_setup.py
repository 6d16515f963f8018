"""What is simulated: node, models and trace, from what `aquahost simulate` was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from aquahost.cli.lists import listed, one_of
from aquahost.cli.output import say
from aquahost.cli.plan_node import profiles_on
from aquahost.cli.simulate_options import AskedTrace
from aquahost.config.settings import Kind, ModelSettings, Settings
from aquahost.errors import ConfigError
from aquahost.profiler.gpu_names import EMULATED
from aquahost.profiles.data_sheets import parse_node
from aquahost.profiles.profile import LanguageCosts, Profile
from aquahost.quiet_stdout import quiet_stdout
from aquahost.simulator.build import EMULATED_CHUNK_BYTES
from aquahost.simulator.links import Paired, Switched
from aquahost.simulator.node import Hosted
from aquahost.simulator.placing import placed
from aquahost.simulator.run import AS_CONFIGURED, POLICIES, TIERS, Machine
from aquahost.traces.built_in import TRACES, make_trace
from aquahost.traces.trace import Trace
from aquahost.traces.trace_file import read_trace, unknown_model
from aquahost.traces.traffic import NAME as TRAFFIC
from aquahost.traces.traffic import make_traffic
from aquahost.units import counted, format_seconds

_MANY_PROMPTS = 50_000
"""Whose making takes a second or more."""
TRAFFIC_S = 300.0
"""How long traffic is simulated unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything but policies and tiers."""

    settings: Settings
    hosted: Sequence[Hosted]
    machine: Machine
    trace: Trace


def make_setup(settings: Settings, gpus: str | None, asked: AskedTrace) -> Setup:
    """The node, and what is asked of it. Raises ConfigError for what cannot be simulated."""
    models = {name: model for name, model in settings.models.items() if model.kind is not Kind.TOY}
    if len(models) < len(settings.models):
        say(f"models of kind toy are not simulated: {', '.join(sorted(settings.models.keys() - models.keys()))}")
    if not models:
        raise ConfigError("models.yaml has no models to simulate")
    # Of the trace all that can be wrong without profiles is said before these are worked out.
    trace = None if asked.name == TRAFFIC else _trace_of_name(models, asked)
    machine, profiles = _machine(settings, gpus)
    _check_contexts(models, profiles)
    if trace is None:
        trace = _traffic(models, profiles, asked)
    with quiet_stdout():
        hosted = placed(settings, profiles, machine)
    return Setup(settings=settings, hosted=hosted, machine=machine, trace=trace)


def asked_policies(text: str | None, settings: Settings) -> list[str]:
    """Those in a list with commas; without it, that of models.yaml."""
    if text is not None:
        return listed(text, "--policies", POLICIES)
    default = settings.scheduler.policy
    own = any(model.policy not in (None, default) for model in settings.models.values())
    return [AS_CONFIGURED if own else default.value]


def asked_tiers(text: str) -> list[str]:
    """Those in a list with commas."""
    return listed(text, "--tiers", TIERS[::-1])


def _machine(settings: Settings, gpus: str | None) -> tuple[Machine, dict[str, Profile]]:
    """The node, and what the models cost on its GPUs."""
    if gpus is not None:
        node = parse_node(gpus)
        sizes, wiring = (node.sheet.memory_bytes,) * node.gpus, Switched(node)
        return Machine(name=node.name, gpu_bytes=sizes, wiring=wiring), profiles_on(settings, node.sheet.name)
    if settings.host.driver == "cuda":
        raise ConfigError("host.driver is cuda: say which GPUs are to be simulated, like --gpus 8xH100")
    emulated = settings.host.emulated
    machine = Machine(
        name=counted(emulated.gpus, "emulated GPU"),
        gpu_bytes=(emulated.gpu_bytes,) * emulated.gpus,
        wiring=Paired(emulated),
        chunk_bytes=EMULATED_CHUNK_BYTES,
    )
    return machine, profiles_on(settings, EMULATED)


def _check_contexts(models: Mapping[str, ModelSettings], profiles: Mapping[str, Profile]) -> None:
    """As an engine does that loads a model."""
    for name, profile in profiles.items():
        asked, costs = models[name].max_context, profile.costs
        if asked is not None and isinstance(costs, LanguageCosts) and asked > costs.context_tokens:
            most = costs.context_tokens
            raise ConfigError(f"models.{name}: max_context is {asked}; the model was made for {most} tokens at most")


# -- the trace -------------------------------------------------------------------------------------------------


def _traffic(models: Mapping[str, ModelSettings], profiles: Mapping[str, Profile], asked: AskedTrace) -> Trace:
    if asked.model is not None:
        raise typer.BadParameter("is for traces that name no models; traffic does", param_hint="'--model'")
    costs = {name: profile.costs for name, profile in profiles.items()}
    contexts = {name: one.context_tokens for name, one in costs.items() if isinstance(one, LanguageCosts)}
    duration_s = TRAFFIC_S if asked.duration_s is None else asked.duration_s
    expected = asked.times * duration_s * sum(model.traffic.rate_per_s for model in models.values())
    if expected >= _MANY_PROMPTS:
        say(f"making a trace of about {expected:,.0f} prompts …")
    return make_traffic(
        models,
        seed=asked.seed,
        duration_s=duration_s,
        times=asked.times,
        contexts=contexts,
        progress=_say_model if expected >= _MANY_PROMPTS else None,
    )


def _say_model(name: str, prompts: int) -> None:
    say(f"  {counted(prompts, 'prompt')} to {name}")


def _trace_of_name(models: Mapping[str, ModelSettings], asked: AskedTrace) -> Trace:
    """A built-in trace or a file's, at its rate and as much of it as is asked for."""
    if asked.model is not None and asked.model not in models:
        raise ConfigError(f"--model: {unknown_model(asked.model, models)}")
    sole = asked.model or (next(iter(models)) if len(models) == 1 else "")
    if asked.name in TRACES:
        trace = make_trace(asked.name, seed=asked.seed)
        if not sole:
            whom = [name for name, model in models.items() if model.kind is Kind.LLM]
            if not whom:
                raise ConfigError(f"--trace {asked.name} has language prompts, and there is no language model")
            raise ConfigError(
                f"--trace {asked.name} asks one language model; say which with --model: {', '.join(whom)}"
            )
        if models[sole].kind is not Kind.LLM:
            raise ConfigError(f"--trace {asked.name} has language prompts, and {sole} is of kind {models[sole].kind}")
    else:
        path = Path(asked.name)
        if not (path.suffix or path.exists()):
            names = one_of([TRAFFIC, *TRACES])
            raise typer.BadParameter(f"{asked.name!r} is neither {names} nor a file", param_hint="'--trace'")
        trace = read_trace(path, models=models, sole=sole)
    last_s = float("inf") if asked.duration_s is None else asked.duration_s
    prompts = [
        replace(prompt, model=prompt.model or sole, arrival_s=prompt.arrival_s / asked.times)
        for prompt in trace.prompts
    ]
    kept = tuple(prompt for prompt in prompts if prompt.arrival_s <= last_s)
    if not kept:
        raise ConfigError(f"no prompt falls into {format_seconds(last_s)}; give a longer --duration")
    return replace(trace, prompts=kept)
