"""One trace under every policy and every place that prompts can be paged to."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from aquahost.bench.daemon_watch import DaemonWatch
from aquahost.bench.http_stream import Server
from aquahost.bench.private_daemon import PrivateDaemon, private_daemon
from aquahost.bench.process import OthersCpu
from aquahost.bench.replay import Target, prefill_floor_s, replay
from aquahost.bench.tiny_llama import KV_BYTES_PER_TOKEN, MAX_CONTEXT, make_tiny_llama
from aquahost.errors import ConfigError
from aquahost.traces.replies import Reply, Row, row
from aquahost.traces.trace import Trace
from aquahost.units import MIB

TIERS = ("recompute", "host", "peer")
MODEL = "tiny"
_FLOOR_POLICY = "fcfs"
_WARM_PROMPTS = 12
_WARM_TOKENS = 24
_SMALLEST_QUEUE = 256
_SETTLE_S = 15.0
"""How long a daemon gets to take back its leases; it is measured afterwards whether it has or not."""
_POLL_S = 0.5
_REPORT_S = 0.5
"""How old a model's figures in the snapshot may be."""
_FIGURES = (
    "ttft_p50_s", "ttft_p95_s", "ttft_p99_s", "ttft_max_s", "itl_p50_s", "itl_p99_s", "longest_gap_s",
    "completion_mean_s", "completion_p99_s", "output_tokens_per_s",
)  # fmt: skip
"""Of a row."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One row's configuration."""

    policy: str
    tier: str

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.policy} × {self.tier}"


@dataclass(frozen=True, slots=True)
class Measured:
    """One replay: its figures, and the replies they are of."""

    row: Row
    replies: list[Reply]


@dataclass(slots=True)
class Burst:
    """All that was measured."""

    measured: list[Measured] = field(default_factory=list)
    """One for each configuration."""
    prefill_floor_s: float | None = None
    """What it takes to prefill all the prompts, sent at once, for one token each: in a burst hardly any scheduler can
    answer the last one sooner after the first came. None if it could not be measured."""


class Watcher(Protocol):
    """Somebody who is told how far the measurement is."""

    def begin(self, what: str) -> None:
        """Something else is measured now."""
        ...

    def prompt_ended(self) -> None:
        """One more prompt of a replay is at its end."""
        ...


def measure_daemons(
    trace: Trace,
    policies: Sequence[str],
    tiers: Sequence[str],
    *,
    runs: int,
    seed: int,
    watcher: Watcher,
    env: Mapping[str, str] | None = None,
) -> Burst:
    """Replay the trace against a fresh private daemon for each policy and tier, `runs` times in turn.

    `env`: what else the daemons' environment has. A row is its median run by output tokens/s, whole: figures that
    belong together stay together. Raises ConfigError for a trace that is too long for the measured model.
    """
    if trace.longest_tokens > MAX_CONTEXT:
        raise ConfigError(
            f"{trace.name}: a prompt takes {trace.longest_tokens} tokens in and out, but the measured model has room "
            f"for {MAX_CONTEXT}"
        )
    setups = [Setup(policy, tier) for policy in policies for tier in tiers]
    floor_setup = next((setup for setup in setups if setup.policy == _FLOOR_POLICY), None)
    taken: dict[Setup, list[Measured]] = {setup: [] for setup in setups}
    floors_s: list[float | None] = []
    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as folder:
        make_tiny_llama(Path(folder))
        # Runs outermost: whatever else the machine does meets all configurations alike.
        for run in range(runs):
            for setup in setups:
                name = setup.name + (f", run {run + 1} of {runs}" if runs > 1 else "")
                with warm_daemon(trace, setup, folder, seed, watcher, name, env) as (daemon, target):
                    if setup == floor_setup:
                        floors_s.append(_floor(trace, target, f"{seed}/{run}", watcher))
                        _settle(daemon)
                    taken[setup].append(_replay(trace, setup, daemon, target, f"{seed}/{run}", watcher, name))
        if floor_setup is None:
            floor_setup = Setup(_FLOOR_POLICY, tiers[0])
            name = f"{floor_setup.name}, to measure prefill alone"
            with warm_daemon(trace, floor_setup, folder, seed, watcher, name, env) as (_, target):
                floors_s.append(_floor(trace, target, f"{seed}", watcher))
    return Burst([_median(measured) for measured in taken.values()], _median_s(floors_s))


def measure_server(trace: Trace, target: Target, *, runs: int, seed: int, watcher: Watcher) -> Burst:
    """Replay the trace against a server that is there already, `runs` times: one row, its median run."""
    watcher.begin("warming the server")
    _warm_up(trace, target, seed)
    taken: list[Measured] = []
    floors_s: list[float | None] = []
    for run in range(runs):
        floors_s.append(_floor(trace, target, f"{seed}/{run}", watcher))
        watcher.begin(f"{target.model}, run {run + 1} of {runs}" if runs > 1 else target.model)
        replies = replay(target, trace.prompts, f"{seed}/{run}", watcher.prompt_ended)
        taken.append(Measured(row("-", "-", replies), replies))
    return Burst([_median(taken)], _median_s(floors_s))


def models_yaml(trace: Trace, setup: Setup, source: str) -> str:
    """The measured model's daemon, but for its `host` section."""
    # Twice what all prompts hold at their ends: nothing is ever short but the model's own GPU.
    ample_bytes = 2 * sum(prompt.tokens for prompt in trace.prompts) * KV_BYTES_PER_TOKEN + 64 * MIB
    model = {
        "kind": "llm",
        "source": source,
        "kv_bytes": trace.kv_tokens * KV_BYTES_PER_TOKEN,
        "max_context": _whole_blocks(trace.longest_tokens),
        "max_queue": max(_SMALLEST_QUEUE, len(trace.prompts)),
        "borrow_bytes": ample_bytes if setup.tier == "peer" else 0,
        "host_kv_bytes": 0 if setup.tier == "recompute" else ample_bytes,
    }
    sections: dict[str, Any] = {
        "scheduler": {"policy": setup.policy, **({"max_batch": trace.max_batch} if trace.max_batch else {})},
        "leasing": {"park_after_s": None},
        "tenants": {tenant: {"key": _key(tenant), "weight": 1} for tenant in trace.tenants},
        "models": {name or MODEL: model for name in trace.models},
    }
    return "".join(f"{name}: {json.dumps(section)}\n" for name, section in sections.items())


@contextmanager
def warm_daemon(
    trace: Trace, setup: Setup, folder: str, seed: int, watcher: Watcher, name: str, env: Mapping[str, str] | None
) -> Iterator[tuple[PrivateDaemon, Target]]:
    """A fresh private daemon that has answered a few prompts, and is idle."""
    watcher.begin(f"starting {name}")
    with private_daemon(models_yaml(trace, setup, folder), env) as daemon:
        server = Server(host="127.0.0.1", port=daemon.port, path="/v1/completions")
        target = Target(server=server, model=MODEL, keys={tenant: _key(tenant) for tenant in trace.tenants})
        _warm_up(trace, target, seed)
        _settle(daemon)
        yield daemon, target


def _replay(
    trace: Trace, setup: Setup, daemon: PrivateDaemon, target: Target, contents: str, watcher: Watcher, name: str
) -> Measured:
    before_bytes = _paged_bytes(daemon)
    watcher.begin(name)
    others = OthersCpu([os.getpid(), *daemon.pids()])
    places = trace.max_batch // len(trace.tenants) if trace.max_batch else None
    with DaemonWatch(daemon.socket, places=places) as watch:
        replies = replay(target, trace.prompts, contents, watcher.prompt_ended)
    others_cores, slices, shares = others.cores(), watch.slices(), watch.shares()
    time.sleep(_REPORT_S)
    # A worker that died counts from zero again.
    paged_bytes = max(_paged_bytes(daemon) - before_bytes, 0)
    figures = row(setup.policy, setup.tier, replies, paged_bytes)
    if slices is not None:
        figures = replace(figures, slice_p50_s=slices.median_s, gap_bound_s=slices.gap_bound_s)
    tenants = {name: replace(one, device_share=shares.get(name)) for name, one in figures.tenants.items()}
    return Measured(replace(figures, others_cores=others_cores, tenants=tenants), replies)


def _floor(trace: Trace, target: Target, contents: str, watcher: Watcher) -> float | None:
    watcher.begin("prefilling all prompts, back to back")
    return prefill_floor_s(target, trace.prompts, f"{contents}/floor")


def _warm_up(trace: Trace, target: Target, seed: int) -> None:
    prompts = [
        replace(prompt, arrival_s=0.0, output_tokens=min(prompt.output_tokens, _WARM_TOKENS))
        for prompt in trace.prompts[:_WARM_PROMPTS]
    ]
    replay(target, prompts, f"{seed}/warm")


def _settle(daemon: PrivateDaemon) -> None:
    """Wait until nothing is borrowed and no prompt is live."""
    deadline_s = time.monotonic() + _SETTLE_S
    while time.monotonic() < deadline_s:
        snapshot = daemon.snapshot()
        if not snapshot["leases"] and not snapshot["prompts"]:
            return
        time.sleep(_POLL_S)


def _paged_bytes(daemon: PrivateDaemon) -> int:
    """Bytes that its models have paged so far, whatever way."""
    stats: Iterable[Any] = (model["stats"] or {} for model in daemon.snapshot()["models"])
    return sum(nbytes for one in stats for _, _, nbytes in one.get("paged", ()))


def _median(measured: Sequence[Measured]) -> Measured:
    """The median run by output tokens/s; of an even number the slower of the two in the middle."""
    ordered = sorted(measured, key=lambda one: one.row.output_tokens_per_s)
    middle = ordered[(len(ordered) - 1) // 2]
    runs = [one.row.output_tokens_per_s for one in measured]
    medians = {name: _median_s(getattr(one.row, name) for one in measured) for name in _FIGURES}
    return Measured(replace(middle.row, runs=runs, medians=medians), middle.replies)


def _median_s(times_s: Iterable[float | None]) -> float | None:
    known_s = [time_s for time_s in times_s if time_s is not None]
    return statistics.median(known_s) if known_s else None


def _whole_blocks(tokens: int, block_tokens: int = 16) -> int:
    return -(-tokens // block_tokens) * block_tokens


def _key(tenant: str) -> str:
    return f"key-of-{tenant}"
