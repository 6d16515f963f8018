"""`aquahost chaos soak`: mixed load for a long time, in which nothing may grow."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aquahost.bench.chaos.asks import make_asks
from aquahost.bench.chaos.crowd import Crowd, expected_replies
from aquahost.bench.chaos.host import ChaosHost
from aquahost.bench.chaos.models import write_models
from aquahost.bench.chaos.processes import descriptors_of
from aquahost.bench.chaos.report import Check, Report, none_of, times
from aquahost.bench.chaos.rest import checks_at_rest, come_to_rest
from aquahost.bench.chaos.run import of_prompts
from aquahost.bench.chaos.trend import Trend, trend
from aquahost.bench.private_daemon import private_daemon
from aquahost.bench.process import resident_bytes
from aquahost.units import MIB

_SAMPLES = 600
"""Over a run, however long it is; at most two a second."""
_LEAST_PERIOD_S = 0.5
_WARM_SHARE = 0.25
"""Of a run, at its begin: memory still settles then, and does not count."""
_ALLOWED_SHARE = 0.01
_ALLOWED_BYTES = 1 * MIB
"""Growth of a process over a run that is none: the larger of this and a share of what it has."""
_ALLOWED_LATENCY = 0.2
"""Growth of the latency that is none, as a share of it."""

Say = Callable[[str], None]
Samples = dict[str, list[tuple[float, float]]]
"""By what was measured: when, and what it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """How something developed over a run."""

    name: str
    unit: str
    trend: Trend | None
    """None where there are too few samples."""
    is_flat: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked(Report):
    """A report, and what was watched for growth."""

    grown: list[Grown]


def run_soak(*, seconds: float, clients: int, seed: int, toys_only: bool, say: Say) -> Soaked:
    """Ask from `clients` at once for so long. Raises StartError if the daemon does not come up."""
    with tempfile.TemporaryDirectory(prefix="aquahost-chaos.") as folder:
        models = write_models(Path(folder), toys_only=toys_only)
        say("starting a daemon …")
        with private_daemon(models) as daemon:
            return asyncio.run(_run(ChaosHost(daemon, models), seconds, clients, seed, say))


async def _run(host: ChaosHost, seconds: float, clients: int, seed: int, say: Say) -> Soaked:
    began_s = time.monotonic()
    asks = make_asks({model.name: model.kind for model in (await host.snapshot()).models}, seed)
    expected = await expected_replies(host, asks, clients)
    first = await come_to_rest(host)
    crowd = Crowd(host, asks, expected, clients)
    async with crowd.asking():
        samples = await _watch(host, seconds, say)
    grown = _grown(samples, crowd)
    growing = [one for one in grown if not one.is_flat]
    restarts = [model.name for model in (await host.snapshot()).models if model.restarts]
    checks = [
        *of_prompts(crowd.tally),
        Check(name="things that grow", found=len(growing), details=[_in_words(one) for one in growing]),
        none_of("workers that died", restarts),
        *await checks_at_rest(host, first),
    ]
    latencies_s = [took_s for _, took_s in crowd.tally.latencies_s]
    return Soaked(
        counts={"prompts answered": crowd.tally.answered, "requests told to come again": crowd.tally.refused},
        checks=checks,
        times=[times("prompt → its end", latencies_s)],
        took_s=time.monotonic() - began_s,
        grown=grown,
    )


async def _watch(host: ChaosHost, seconds: float, say: Say) -> Samples:
    """Sample what every process holds, for so long."""
    begin_s = time.monotonic()
    period_s = max(_LEAST_PERIOD_S, seconds / _SAMPLES)
    samples: Samples = defaultdict(list)
    said = 0
    while (now_s := time.monotonic()) < begin_s + seconds:
        await asyncio.sleep(period_s)
        names = {model.pid: model.name for model in (await host.snapshot()).models if model.pid is not None}
        for pid, name in {host.pid: "daemon", **names}.items():
            with suppress(OSError):  # it died, which the checks at the end will tell
                samples[f"memory of {name}"].append((now_s, resident_bytes(pid)))
                samples[f"descriptors of {name}"].append((now_s, descriptors_of(pid).total()))
        done = int((now_s - begin_s) / seconds * 10)
        if done > said:
            said = done
            say(f"{done * 10} % of {seconds:g} s")
    return samples


def _grown(samples: Samples, crowd: Crowd) -> list[Grown]:
    grown = []
    for name, all_of_it in sorted(samples.items()):
        in_bytes = name.startswith("memory")
        found = trend(warm(all_of_it))
        allowed = max(_ALLOWED_BYTES, _ALLOWED_SHARE * found.start) if found and in_bytes else 0.5
        flat = found is None or found.is_flat(allowed)
        grown.append(Grown(name=name, unit="bytes" if in_bytes else "open", trend=found, is_flat=flat))
    found = trend(warm(crowd.tally.latencies_s))
    flat = found is None or found.is_flat(_ALLOWED_LATENCY * found.start)
    return [*grown, Grown(name="time of a prompt", unit="s", trend=found, is_flat=flat)]


def warm(samples: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Those taken once everything had settled."""
    if not samples:
        return samples
    first_s, last_s = samples[0][0], samples[-1][0]
    begin_s = first_s + _WARM_SHARE * (last_s - first_s)
    return [sample for sample in samples if sample[0] >= begin_s]


def _in_words(one: Grown) -> str:
    assert one.trend is not None
    growth = f"{one.trend.growth:+.4g}, surely {one.trend.least_growth:+.4g}"
    return f"{one.name}: {growth} {one.unit}, on {one.trend.start:.4g}"
