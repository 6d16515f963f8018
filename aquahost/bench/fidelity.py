"""The simulator with a measured profile against the live daemon: the same trace, model, settings and ruler."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from aquahost.bench.burst import MODEL, Setup, measure_daemons, models_yaml, warm_daemon
from aquahost.bench.figures import Figure
from aquahost.bench.replay import replay
from aquahost.bench.tiny_llama import MAX_CONTEXT, make_tiny_llama
from aquahost.config.loader import load_settings
from aquahost.config.paths import log_name
from aquahost.config.settings import Settings
from aquahost.errors import StartError
from aquahost.profiler.measured import measure
from aquahost.profiler.served import served_costs
from aquahost.profiles.profile import LanguageCosts, Profile
from aquahost.simulator.build import EMULATED_CHUNK_BYTES
from aquahost.simulator.links import Paired
from aquahost.simulator.node import Hosted
from aquahost.simulator.run import Machine, simulate
from aquahost.traces.built_in import make_trace
from aquahost.traces.replies import Row
from aquahost.traces.trace import Trace
from aquahost.worker.step_log import VARIABLE as STEP_LOG_VARIABLE
from aquahost.worker.step_log import LoggedStep, read_steps

_TRACES = (("burst", 8.0), ("poisson", 6.0), ("mixed", 8.0))
"""Name and arrivals a second."""
_SETUP = Setup("fair", "peer")
_THREADS = 1
"""torch's, of the worker. What a second one brings changes every few seconds on a virtual machine, whose cores may be
two threads of one: steps of the same shape then take 1.7 times as long, whatever the daemon does."""
_ENV = {"AQUAHOST_HOST__CPU_THREADS": str(_THREADS)}
_ROUNDS = 3
_SEED = 1
"""Of the prompts that are foretold; each round takes the next."""
_OTHER_SEED = 101
"""Of the prompts that step times are learned from; likewise."""
_BAR = 0.15
_FIGURES = ("ttft_p50_s", "ttft_p99_s", "completion_mean_s", "output_tokens_per_s")


class _Silent:
    """Nobody is told how far the measurement is."""

    def begin(self, what: str) -> None:
        """Something else is measured now."""

    def prompt_ended(self) -> None:
        """One more prompt of a replay is at its end."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One trace with the prompts of one seed, live and simulated."""

    live: Row
    simulated: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """What one replay against a live daemon taught."""

    trace: Trace
    steps: list[LoggedStep]
    ttft_p50_s: float
    """What its clients saw."""


def measure_fidelity() -> list[Figure]:
    """For three traces: what the simulator foretells ÷ what the live daemon did, medians over several seeds."""
    compared = compare()
    return [_figure(trace, pairs, name) for trace, pairs in compared.items() for name in _FIGURES]


def compare() -> dict[str, list[Pair]]:
    """By trace: run it live with the prompts of each seed, in between serve other prompts to learn what steps cost a
    live worker, then simulate.

    In turn, since the machine's speed drifts in minutes: what is measured and what is foretold meet it alike.
    """
    live: dict[str, list[tuple[Trace, Row]]] = {name: [] for name, _ in _TRACES}
    served: list[_Served] = []
    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as folder:
        make_tiny_llama(Path(folder))
        alone = _alone(_settings(make_trace("burst", seed=_SEED), folder))
        for round_ in range(_ROUNDS):
            for name, rate_per_s in _TRACES:
                served.append(_serve(make_trace(name, seed=_OTHER_SEED + round_, rate_per_s=rate_per_s), folder))
                trace = make_trace(name, seed=_SEED + round_, rate_per_s=rate_per_s)
                live[name].append((trace, _live(trace)))
        steps = [step for one in served for step in one.steps]
        profile = msgspec.structs.replace(alone, costs=served_costs(_language(alone), steps))
        request_s = _request_s(served, folder, profile)
        return {
            name: [Pair(row, _simulated(trace, _settings(trace, folder), profile, request_s)) for trace, row in rows]
            for name, rows in live.items()
        }


def _figure(trace: str, pairs: list[Pair], name: str) -> Figure:
    known = [(getattr(pair.live, name), getattr(pair.simulated, name)) for pair in pairs]
    error = statistics.median(foretold / live for live, foretold in known) - 1
    each = ", ".join(f"{live:.3g}: {foretold:.3g}" for live, foretold in known)
    return Figure(
        name=f"{trace}: {name}, simulated against live",
        value=100 * error,
        unit="%",
        bar=f"within {100 * _BAR:.0f}",
        met=abs(error) <= _BAR,
        note=f"live: simulated, by seed: {each}",
    )


def _alone(settings: Settings) -> Profile:
    """The profile measured by itself. On a machine whose few cores worker, daemon and clients share, steps take longer
    than that."""
    model = settings.models[MODEL].model_copy(update={"max_context": MAX_CONTEXT})
    return measure(MODEL, model, settings, lambda note: None)


def _language(profile: Profile) -> LanguageCosts:
    if not isinstance(profile.costs, LanguageCosts):
        raise StartError("the measured model is no language model")
    return profile.costs


def _live(trace: Trace) -> Row:
    policies, tiers = [_SETUP.policy], [_SETUP.tier]
    burst = measure_daemons(trace, policies, tiers, runs=1, seed=_SEED, watcher=_Silent(), env=_ENV)
    return burst.measured[0].row


def _serve(trace: Trace, source: str) -> _Served:
    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as folder:
        env = _ENV | {STEP_LOG_VARIABLE: folder}
        with warm_daemon(trace, _SETUP, source, _OTHER_SEED, _Silent(), "other prompts", env) as (_, target):
            replies = replay(target, trace.prompts, "other prompts")
        ttft_p50_s = statistics.median(reply.ttft_s for reply in replies if not reply.failure)
        return _Served(trace=trace, steps=read_steps(Path(folder) / f"{log_name(MODEL)}.steps"), ttft_p50_s=ttft_p50_s)


def _request_s(served: list[_Served], source: str, profile: Profile) -> float:
    """What lies between a client and the model's worker: how much later first tokens came than steps account for, where
    prompts wait least for each other."""
    quick = min(served, key=lambda one: one.ttft_p50_s).trace.name
    later_s = []
    for one in served:
        if one.trace.name == quick:
            foretold_s = _simulated(one.trace, _settings(one.trace, source), profile, 0.0).ttft_p50_s
            later_s.append(one.ttft_p50_s - (foretold_s or 0.0))
    return max(0.0, statistics.median(later_s))


def _simulated(trace: Trace, settings: Settings, profile: Profile, request_s: float) -> Row:
    emulated = settings.host.emulated
    machine = Machine(
        name=f"{emulated.gpus} emulated GPUs",
        gpu_bytes=(emulated.gpu_bytes,) * emulated.gpus,
        wiring=Paired(emulated),
        chunk_bytes=EMULATED_CHUNK_BYTES,
        request_s=request_s,
    )
    hosted = [Hosted(name=MODEL, settings=settings.models[MODEL], profile=profile, gpus=(0,))]
    return simulate(settings, hosted, machine, trace, policy=_SETUP.policy, tier=_SETUP.tier).total


def _settings(trace: Trace, source: str) -> Settings:
    """What the live daemon is given."""
    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as folder:
        path = Path(folder) / "models.yaml"
        path.write_text(f"host: {{driver: emulated, cpu_threads: {_THREADS}}}\n{models_yaml(trace, _SETUP, source)}")
        return load_settings(path)
