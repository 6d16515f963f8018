"""The simulator with a measured profile against the live daemon: the same trace, model, settings and ruler."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from aquahost.bench.burst import MODEL, Setup, measure_daemons, models_yaml
from aquahost.bench.figures import Figure
from aquahost.bench.http_stream import Server
from aquahost.bench.private_daemon import private_daemon
from aquahost.bench.replay import Target, replay
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
from aquahost.traces.replies import Reply, Row
from aquahost.traces.trace import Trace
from aquahost.worker.step_log import VARIABLE as STEP_LOG_VARIABLE
from aquahost.worker.step_log import LoggedStep, read_steps

_TRACES = (("burst", 8.0), ("poisson", 6.0), ("mixed", 8.0))
"""Name and arrivals a second."""
_SETUP = Setup("fair", "peer")
_RUNS = 3
_SEED = 1
_CALIBRATION_SEED = 101
_CALIBRATION_RUNS = 2
_BAR = 0.15
_FIGURES = ("ttft_p50_s", "ttft_p99_s", "completion_mean_s", "output_tokens_per_s")


class _Silent:
    """Nobody is told how far the measurement is."""

    def begin(self, what: str) -> None:
        """Something else is measured now."""

    def prompt_ended(self) -> None:
        """One more prompt of a replay is at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One trace, live and simulated."""

    trace: Trace
    live: Row
    """Of which `medians` counts."""
    simulated: Row


def measure_fidelity() -> list[Figure]:
    """For three traces: what the simulator foretells ÷ what the live daemon did, medians of its runs."""
    figures = []
    for pair in compare():
        for name in _FIGURES:
            live, foretold = pair.live.medians[name], getattr(pair.simulated, name)
            if live is None or foretold is None:
                continue
            error = foretold / live - 1
            note = f"live {live:.4g}, simulated {foretold:.4g}"
            figures.append(
                Figure(
                    name=f"{pair.trace.name}: {name}, simulated against live",
                    value=100 * error,
                    unit="%",
                    bar=f"within {100 * _BAR:.0f}",
                    met=abs(error) <= _BAR,
                    note=note,
                )
            )
    return figures


def compare() -> Iterator[Pair]:
    """Measure the model, alone and then served, then run each trace live and simulated."""
    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as folder:
        make_tiny_llama(Path(folder))
        served = _served(folder)
        for name, rate_per_s in _TRACES:
            trace = make_trace(name, seed=_SEED, rate_per_s=rate_per_s)
            burst = measure_daemons(trace, [_SETUP.policy], [_SETUP.tier], runs=_RUNS, seed=_SEED, watcher=_Silent())
            simulated = _simulated(trace, _settings(trace, folder), served.profile, served.request_s)
            yield Pair(trace=trace, live=burst.measured[0].row, simulated=simulated)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """What was learned from a live daemon."""

    profile: Profile
    request_s: float
    """What lies between a client and the model's worker: how much later first tokens came than steps account for."""


def _served(source: str) -> _Served:
    """The measured profile with costs as a live worker has them.

    On a machine whose few cores worker, daemon and clients share, steps take longer than alone; how much is measured
    under another burst than the one foretold.
    """
    trace = make_trace("burst", seed=_CALIBRATION_SEED)
    settings = _settings(trace, source)
    model = settings.models[MODEL].model_copy(update={"max_context": MAX_CONTEXT})
    profile = measure(MODEL, model, settings, lambda note: None)
    if not isinstance(profile.costs, LanguageCosts):
        raise StartError("the measured model is no language model")
    steps: list[LoggedStep] = []
    came_s: list[float] = []
    for _ in range(_CALIBRATION_RUNS):
        logged, live = _logged(trace, source)
        steps += logged
        came_s += [reply.ttft_s for reply in live if not reply.failure]
    read_s = profile.costs.kv_token_bytes * model.block_tokens / settings.host.emulated.peer_bytes_per_s
    profile = msgspec.structs.replace(profile, costs=served_costs(profile.costs, steps, read_s))
    foretold = _simulated(trace, settings, profile, 0.0)
    return _Served(profile=profile, request_s=max(0.0, statistics.median(came_s) - (foretold.ttft_p50_s or 0.0)))


def _logged(trace: Trace, source: str) -> tuple[list[LoggedStep], list[Reply]]:
    """The steps of a live worker that serves this trace, and what its clients saw."""
    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as folder:
        with private_daemon(models_yaml(trace, _SETUP, source), {STEP_LOG_VARIABLE: folder}) as daemon:
            server = Server(host="127.0.0.1", port=daemon.port, path="/v1/completions")
            live = replay(Target(server=server, model=MODEL), trace.prompts, "calibration")
        return read_steps(Path(folder) / f"{log_name(MODEL)}.steps"), live


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
        path.write_text(f"host: {{driver: emulated}}\n{models_yaml(trace, _SETUP, source)}")
        return load_settings(path)
