"""`aquahost chaos`: a burst of prompts while workers and the daemon are killed."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from aquahost.bench.chaos.asks import make_asks
from aquahost.bench.chaos.crowd import Crowd, Tally, expected_replies
from aquahost.bench.chaos.durable import DurableJobs
from aquahost.bench.chaos.host import ChaosHost
from aquahost.bench.chaos.kills import Killer, Kills
from aquahost.bench.chaos.models import write_models
from aquahost.bench.chaos.processes import processes_of
from aquahost.bench.chaos.report import Check, Report, Times, none_of, times
from aquahost.bench.chaos.rest import checks_at_rest, come_to_rest
from aquahost.bench.private_daemon import private_daemon

Say = Callable[[str], None]


def run_chaos(*, rounds: int, daemon_kills: int, clients: int, seed: int, toys_only: bool, say: Say) -> Report:
    """Host models, ask them from `clients` at once, and meanwhile kill a random worker `rounds` times and the daemon
    `daemon_kills` times; `say` is told how far it is.

    Raises StartError if the daemon does not come up, at first or after a kill, and FailedError where a prompt fails
    before anything is killed.
    """
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aquahost-chaos.") as folder:
        models = write_models(Path(folder), toys_only=toys_only)
        say("starting a daemon …")
        with private_daemon(models) as daemon:
            host = ChaosHost(daemon, models)
            report = asyncio.run(_run(host, rounds, daemon_kills, clients, seed, say))
        left = processes_of(Path(daemon.env["AQUAHOST_RUNTIME_DIR"]))
    return Report(
        counts=report.counts,
        checks=[*report.checks, none_of("processes after `down`", list(left))],
        times=report.times,
        took_s=time.monotonic() - began_s,
    )


async def _run(host: ChaosHost, rounds: int, daemon_kills: int, clients: int, seed: int, say: Say) -> Report:
    began_s = time.monotonic()
    asks = make_asks({model.name: model.kind for model in (await host.snapshot()).models}, seed)
    say(f"asking {len(asks)} prompts undisturbed …")
    expected = await expected_replies(host, asks, clients)
    first = await come_to_rest(host)
    crowd = Crowd(host, asks, expected, clients)
    jobs = DurableJobs(host, asks, expected)
    killer = Killer(host, crowd, seed=seed, say=say)
    say(f"killing workers {rounds} times and the daemon {daemon_kills} times …")
    async with crowd.asking(), jobs.queueing():
        await killer.run(rounds, daemon_kills)
    say("looking at what is left …")
    of_jobs = await jobs.checks()
    return Report(
        counts=_counts(crowd.tally, killer.kills) | {"durable jobs": jobs.count},
        checks=[*of_prompts(crowd.tally), *of_jobs, *_of_kills(killer.kills), *await checks_at_rest(host, first)],
        times=_times(crowd, killer.kills),
        took_s=time.monotonic() - began_s,
    )


def of_prompts(tally: Tally) -> list[Check]:
    """What must not become of a prompt."""
    return [
        none_of("prompts lost", tally.lost),
        none_of("wrong replies", tally.wrong),
        none_of("stuck prompts", tally.stuck),
    ]


def _of_kills(kills: Kills) -> list[Check]:
    return [none_of("models that did not come back", kills.not_back), none_of("orphans", kills.orphans)]


def _counts(tally: Tally, kills: Kills) -> dict[str, int]:
    return {
        "workers killed": kills.workers,
        "of them while loading": kills.while_loading,
        "daemons killed": kills.daemons,
        "prompts answered": tally.answered,
        "streams that outlived a worker": tally.survivors,
        "requests sent again after the daemon's death": tally.sent_again,
        "requests told to come again": tally.refused,
    }


def _times(crowd: Crowd, kills: Kills) -> list[Times]:
    return [
        times("worker killed → model ready", kills.ready_s),
        times("worker killed → next token of a stream", crowd.resumed_s),
        times("daemon killed → its processes gone", kills.gone_s),
        times("daemon killed → all models ready", kills.daemon_ready_s),
    ]
