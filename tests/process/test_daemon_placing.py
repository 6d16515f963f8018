"""Where a daemon's models go: as planned where there is room, else where most is free; and what it does not host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aquahost.daemon.daemon import Daemon
from aquahost.daemon.gpu_watch import GpuReading
from aquahost.errors import ConfigError
from aquahost.events import EventKind
from aquahost.messages.snapshot import ModelState
from aquahost.placement.preference import Preference
from daemon_fixtures import running_daemon, toy, until, view

GIB = 1 << 30


async def said(daemon: Daemon) -> list[str]:
    """What was told of where models go."""
    last, messages = daemon.snapshot().last_event_seq, []
    async for event in daemon.events(0):
        messages += [event.message] if event.kind is EventKind.MODELS_PLACED else []
        if event.seq == last:
            break
    return messages


async def test_models_go_where_the_plan_has_them_if_there_is_room() -> None:
    def plan(readings: Sequence[GpuReading]) -> Mapping[str, Preference]:
        assert [reading.index for reading in readings] == [0, 1, 2, 3]
        return {
            "chat": Preference(gpu=3, floor_bytes=GIB),
            "large": Preference(gpu=2, floor_bytes=2 * GIB),
            "fixed": Preference(gpu=1, floor_bytes=0),
        }

    models = {"chat": toy(), "large": toy(), "fixed": toy(gpu=1), "other": toy()}
    async with running_daemon(models, plan_gpus=plan) as daemon:
        assert (view(daemon, "chat").gpu, view(daemon, "fixed").gpu) == (3, 1)
        assert view(daemon, "large").gpu in (0, 1, 2), "its planned GPU has too little, so it goes as without a plan"
        assert await said(daemon) == ["planned by their profiles: chat on GPU 3, large on GPU 2"]


async def test_without_a_plan_models_load_all_the_same() -> None:
    def plan(readings: Sequence[GpuReading]) -> Mapping[str, Preference]:
        raise ConfigError("models: 1 GiB short\nit would fit with: 1 more GPU")

    async with running_daemon({"a": toy(), "b": toy()}, plan_gpus=plan) as daemon:
        assert {view(daemon, "a").gpu, view(daemon, "b").gpu} == {0, 1}
        assert await said(daemon) == ["no plan: each model goes where most memory is free (models: 1 GiB short)"]


async def test_what_only_plans_can_do_is_said() -> None:
    models = {
        "wide": {"kind": "llm", "source": "some/model", "tensor_parallel": 2},
        "twin": {"kind": "llm", "source": "some/model", "replicas": 3, "autoload": False},
    }
    async with running_daemon(models, ready=False) as daemon:
        await until(lambda: view(daemon, "wide").state is ModelState.FAILED)
        assert view(daemon, "wide").reason == (
            "tensor_parallel: 2 is for `aquahost plan` and `aquahost simulate`; the daemon loads models of one GPU "
            "only: set it to 1 in models.yaml"
        )
        assert await said(daemon) == ["twin is hosted once: replicas: 3 is for plan and simulate"]
