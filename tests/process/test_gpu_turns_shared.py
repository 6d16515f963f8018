"""Models that share a GPU: real processes that take turns, and ones that are killed or stopped while it is theirs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import openai
import pytest

from aquahost.client import Client
from aquahost.messages.prompts import Tokens
from aquahost.scheduling.gpu_turns import PATIENCE_S
from daemon_fixtures import PATIENCE_S as TEST_PATIENCE_S
from daemon_fixtures import (
    ask,
    collect,
    ending,
    first_token,
    running_daemon,
    served_daemon,
    toy,
    view,
    wait_until,
    worker_pid,
)

pytestmark = pytest.mark.alone

SHARER = """
import sys, time
from aquahost.clock import SystemClock
from aquahost.worker.gpu_turns import GpuTurns
from aquahost.worker.turn_board import TurnBoard
path, step_s = sys.argv[1], float(sys.argv[2])
turns = GpuTurns(TurnBoard(path, patience_s=5.0), SystemClock(), lambda: None)
while True:
    if turns.take():
        begun_s = time.monotonic()
        time.sleep(step_s)
        print(begun_s, time.monotonic(), flush=True)
        turns.stepped(more=True)
    else:
        time.sleep(turns.wait_s())
"""


class SharerProcess:
    """A process that always wants the turn, and the steps it has done."""

    def __init__(self, board: Path, step_s: float, log: IO[str]) -> None:
        self._log = Path(log.name)
        command = [sys.executable, "-c", SHARER, str(board), str(step_s)]
        self.process = subprocess.Popen(command, stdout=log, text=True)

    def steps(self) -> list[tuple[float, float]]:
        """When each began and ended."""
        lines = self._log.read_text().splitlines()
        return [(float(begun), float(ended)) for begun, _, ended in (line.partition(" ") for line in lines) if ended]

    def device_s(self, since_s: float = 0.0) -> float:
        return sum(ended - begun for begun, ended in self.steps() if begun >= since_s)


@contextmanager
def sharers(folder: Path, *steps_s: float) -> Iterator[list[SharerProcess]]:
    with contextlib.ExitStack() as stack:
        made = []
        for number, step_s in enumerate(steps_s):
            log = stack.enter_context((folder / f"sharer{number}").open("w"))
            made.append(SharerProcess(folder / "turns", step_s, log))
            stack.callback(made[-1].process.wait)
            stack.callback(made[-1].process.kill)
        wait_until(lambda: all(len(one.steps()) > 2 for one in made))
        yield made


def test_two_processes_get_equal_device_time_though_one_has_much_longer_steps_and_never_compute_at_once(
    tmp_path: Path,
) -> None:
    with sharers(tmp_path, 0.005, 0.1) as (short, long):
        since_s = time.monotonic()
        wait_until(lambda: short.device_s(since_s) + long.device_s(since_s) > 3.0)
        both = short.device_s(since_s), long.device_s(since_s)
    assert max(both) < 2 * min(both)
    steps = sorted(short.steps() + long.steps())
    assert all(ended <= begun for (_, ended), (begun, _) in itertools.pairwise(steps))


def test_a_killed_holder_frees_the_turn(tmp_path: Path) -> None:
    with sharers(tmp_path, 0.005, 0.6) as (short, long):
        begun = len(long.steps())
        wait_until(lambda: len(long.steps()) > begun)
        wait_until(lambda: time.monotonic() - short.steps()[-1][1] > 0.2)  # the other one computes now
        long.process.kill()
        done = len(short.steps())
        wait_until(lambda: len(short.steps()) > done + 200)


@pytest.mark.parametrize("which", [0, 1])
def test_a_stopped_process_does_not_hold_the_others_up_for_ever(tmp_path: Path, which: int) -> None:
    with sharers(tmp_path, 0.02, 0.02) as both:
        stopped, other = both[which], both[1 - which]
        stopped.process.send_signal(signal.SIGSTOP)  # with the turn or without it
        stopped_s = time.monotonic()
        wait_until(lambda: other.device_s(stopped_s) > 1.0)
        stopped.process.send_signal(signal.SIGCONT)
        resumed_s = time.monotonic()
        # If it was stopped with the turn, it kept the other one waiting, and that counts as device time that it had.
        wait_until(lambda: stopped.device_s(resumed_s) > 0.5)
        assert other.device_s(resumed_s) > 0.2, "it does not make up for the time that it was stopped"


def tokens_of(outputs: list[Any]) -> int:
    return sum(len(output.token_ids) for output in outputs if isinstance(output, Tokens))


async def test_two_models_of_one_gpu_take_turns_and_one_of_another_gpu_does_not() -> None:
    models = {"quick": toy(gpu=0, step_s=0.004), "slow": toy(gpu=0, step_s=0.08), "apart": toy(gpu=1, step_s=0.004)}
    async with running_daemon(models) as daemon:
        streams = {name: ask(daemon, name, max_tokens=1_000_000) for name in models}
        for stream in streams.values():
            await first_token(stream)
        counts = {name: tokens_of(await stream.take()) for name, stream in streams.items()}
        await asyncio.sleep(3.0)
        counts = {name: tokens_of(await stream.take()) for name, stream in streams.items()}
        device_s = {name: counts[name] * models[name]["toy"]["step_s"] for name in models}
        assert device_s["quick"] < 2.5 * device_s["slow"]
        assert device_s["slow"] < 2.5 * device_s["quick"]
        assert device_s["apart"] > 1.3 * device_s["quick"]


async def test_the_other_model_of_a_gpu_goes_on_when_the_one_that_computes_dies_or_hangs() -> None:
    models = {"victim": toy(gpu=0, step_s=0.3), "other": toy(gpu=0, step_s=0.005)}
    async with running_daemon(models, heartbeat_timeout_s=60.0) as daemon:
        victim = ask(daemon, "victim", max_tokens=1000)
        await first_token(victim)
        os.kill(worker_pid(daemon, "victim"), signal.SIGSTOP)
        assert ending(await collect(ask(daemon, "other", max_tokens=100))).output_tokens == 100
        os.kill(worker_pid(daemon, "victim"), signal.SIGCONT)
        await first_token(victim)
        os.kill(worker_pid(daemon, "victim"), signal.SIGKILL)
        assert ending(await collect(ask(daemon, "other", max_tokens=100))).output_tokens == 100
        assert view(daemon, "other").restarts == 0


async def test_waiting_for_the_turn_is_no_hang_and_prompts_can_be_cancelled_meanwhile() -> None:
    assert PATIENCE_S > 2.5
    models = {"long": toy(gpu=0, step_s=2.5), "waits": toy(gpu=0, step_s=0.001)}
    async with running_daemon(models, step_timeout_s=20.0) as daemon:
        long = ask(daemon, "long", max_tokens=100)
        await first_token(long)
        begun = await first_token(ask(daemon, "waits", max_tokens=5))
        assert begun
        waiting = ask(daemon, "waits", max_tokens=10_000)
        await first_token(waiting)
        asked_s = time.monotonic()
        waiting.cancel()
        assert tokens_of(await collect(waiting)) < 10_000
        assert time.monotonic() - asked_s < 2.0
        assert [view(daemon, name).restarts for name in models] == [0, 0]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aquahost-test.", ignore_cleanup_errors=True) as name:
        yield Path(name)


def test_a_chat_answers_while_another_tenant_s_many_images_are_made_on_its_gpu(folder: Path) -> None:
    models: dict[str, dict[str, Any]] = {
        "chat": {"kind": "llm", "source": "demo:chat", "gpu": 0, "kv_bytes": "16MiB", "max_context": 512},
        "paint": {"kind": "image", "source": "demo:paint", "gpu": 0, "steps": 50, "size_px": 128, "max_size_px": 128},
    }
    with (
        served_daemon(folder, models, emulated={"gpus": 2, "gpu_bytes": "512MiB"}) as served,
        Client(Path(served.info.socket)) as control,
        openai.OpenAI(base_url=f"http://127.0.0.1:{served.info.port}/v1", api_key="any", max_retries=0) as client,
    ):
        wait_for(lambda: all(model.state == "ready" for model in control.snapshot().models))
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "aquahost", "run", "paint", "x", "-o", str(folder / f"{number}.png")],
                env={**os.environ, "AQUAHOST_SOCKET": served.info.socket},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for number in range(4)
        ]
        try:
            wait_for(lambda: painting(control) is not None)
            before = painting(control)
            stream = client.chat.completions.create(
                model="chat",
                messages=[{"role": "user", "content": "Tell me a story."}],
                max_tokens=60,
                stream=True,
                extra_body={"ignore_eos": True},
            )
            chunks = sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in stream)
            after = painting(control)
        finally:
            for process in running:
                process.kill()
                process.wait()
        assert chunks > 20
        assert before is not None
        assert after is not None, "images are still being made"
        assert after > before, "images were being made meanwhile"


def painting(control: Client) -> int | None:
    """Steps that the image model has done; None while it makes nothing."""
    stats = next(model.stats for model in control.snapshot().models if model.name == "paint")
    return stats.steps if stats is not None and stats.running else None


def wait_for(condition: Callable[[], object]) -> None:
    """Wait for what takes as long as loading models does."""
    deadline_s = time.monotonic() + 4 * TEST_PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "what was waited for did not come"
        time.sleep(0.05)
