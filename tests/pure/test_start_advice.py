"""The planner's advice at the daemon's start: waited for only so long, and never needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from aquahost.config.settings import Settings
from aquahost.daemon.assembly import hosted_models
from aquahost.daemon.event_log import EventLog
from aquahost.daemon.gpu_watch import GpuReading
from aquahost.daemon.start_placing import advise
from aquahost.placement.gpu_program import place
from aquahost.placement.parts import parts_of
from aquahost.placement.planner import make_plan
from aquahost.placement.preference import Preference
from aquahost.placement.program import UnsolvedError
from aquahost.serve import what_is_known
from aquahost.worker.spec import DriverSpec
from aquahost_cuda.device import GpuMonitor
from planned_fleet import fleet, need


async def test_a_plan_that_takes_too_long_is_not_waited_for_and_comes_too_late(tmp_path: Path) -> None:
    enough, ended = threading.Event(), threading.Event()

    def plan(readings: Sequence[GpuReading]) -> Mapping[str, Preference]:
        enough.wait(60)
        ended.set()
        return {"chat": Preference(gpu=1, floor_bytes=0)}

    models = hosted_models(Settings.model_validate({"models": {"chat": {"kind": "toy"}}}), tmp_path, {})
    events = EventLog()
    await advise(models, plan, [], events, limit_s=0.01)
    following = events.follow(0)
    event = await anext(following)
    assert event.message == "no plan: each model goes where most memory is free (it takes longer than 0.01 s)"
    assert not ended.is_set()
    enough.set()
    await asyncio.to_thread(ended.wait, 60)
    await asyncio.sleep(0.01)
    assert models["chat"].preference is None
    events.close()
    assert [later async for later in following] == []


def test_a_search_without_time_finds_nothing_and_a_plan_is_made_all_the_same() -> None:
    needs = [need(f"m{n}", 5 + n % 3, wanted=3 * n) for n in range(12)]
    with pytest.raises(UnsolvedError):
        place(parts_of(needs), fleet(8, 30), seconds=0.0)
    plan = make_plan(needs, fleet(8, 30), search_s=0.0)
    assert len(plan.models) == 12


class _BrokenMonitor:
    def read(self) -> list[GpuReading]:
        raise RuntimeError("the driver is gone")


def test_a_driver_that_cannot_be_read_leaves_the_daemon_without_advice_only(caplog: pytest.LogCaptureFixture) -> None:
    host = Settings.model_validate({"models": {"chat": {"kind": "toy"}}})
    known = what_is_known(host, DriverSpec(choice="cuda"), cast("GpuMonitor", _BrokenMonitor()))
    assert known == ("", {})
    assert "profiles are not used" in caplog.text
