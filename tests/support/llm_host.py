"""A language model on the first of four emulated GPUs, its broker in the test's hand, and a load that needs paging."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from aquahost.config.settings import SchedulerSettings
from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.engine import LlmEngine
from aquahost.messages.memory import Demand
from aquahost.messages.prompts import Output
from scripted_lender import ScriptedLender
from tiny_llms import emulated_device, load_tiny, make_tiny_llm, text_prompt, tokens_of

MIB = 1 << 20
CHUNK = 2 * MIB
"""16 blocks of 128 KiB, 256 tokens."""
GEOMETRY = {"num_hidden_layers": 4, "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 4096}


@pytest.fixture(scope="session")
def wide_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llm(tmp_path_factory.mktemp("wide"), "llama", **GEOMETRY)


@dataclass
class Host:
    """A model on GPU 0 of four, its broker, and where the emulated node keeps its records."""

    engine: LlmEngine
    broker: ScriptedLender
    device: EngineDevice
    node: Path

    @property
    def memory(self) -> Any:
        return self.engine.sequences.tiers.memory

    def heard(self, kind: type) -> list[Any]:
        """What the model has reported, of one kind."""
        return self.broker.broker.heard_of(kind)

    def round(self) -> list[Output]:
        """What a worker's loop does in one pass, with all that must hold in between."""
        self.broker.clock.advance(0.002)
        self.engine.tend()
        self.broker.pump(self.engine)
        outputs = self.engine.step() if self.engine.has_work() else []
        self.engine.check()
        time.sleep(min(self.engine.wait_s(), 0.001))
        return outputs

    def run(self, until: Callable[[], object] | None = None, *, most: int = 6000) -> list[Output]:
        """Rounds until the condition holds, or without one until no prompt is live."""
        outputs: list[Output] = []
        for _ in range(most):
            if until() if until is not None else not self.engine.has_work():
                return outputs
            outputs += self.round()
        raise AssertionError("what was waited for did not come")

    def lend(self, donor: int, nbytes: int, outputs: list[Output] | None = None) -> int:
        """Once the model asks for memory, grant it a lease; returns its id."""
        went_by = self.run(lambda: [d.nbytes for d in self.heard(Demand)][-1:] not in ([], [0]))
        if outputs is not None:
            outputs += went_by
        return self.broker.grant(self.engine, donor, nbytes)

    def rest(self) -> None:
        """Let six seconds pass in which nothing is asked."""
        for _ in range(6):
            self.broker.clock.advance(1.0)
            self.round()

    def used_by_others(self, gpu: int) -> int:
        free, total = self.device._driver.memory_of(gpu)  # type: ignore[attr-defined]  # of the emulated driver
        return int(total - free)


@pytest.fixture
def host(wide_llm: Path, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []
    with contextlib.ExitStack() as stack:

        def make(*, node: dict[str, Any] | None = None, park_after_s: float | None = None, **changes: Any) -> Host:
            broker = ScriptedLender(park_after_s=park_after_s)
            device = stack.enter_context(emulated_device(tmp_path / "node", gpus=4, desk=broker.desk, **(node or {})))
            scheduler = changes.pop("scheduler", SchedulerSettings(step_tokens=64))
            settings = {"kv_bytes": CHUNK, "borrow_bytes": 16 * CHUNK, "host_kv_bytes": 0, **changes}
            engine = load_tiny(wide_llm, device, scheduler=scheduler, **settings)
            hosts.append(Host(engine, broker, device, tmp_path / "node"))
            return hosts[-1]

        yield make
        for one in hosts:
            one.engine.check()
            one.engine.close()
            assert [one.used_by_others(gpu) for gpu in (1, 2, 3)] == [0, 0, 0], "leased memory was left behind"


@pytest.fixture(scope="session")
def expected(wide_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[int], int], list[int]]:
    """Greedy tokens of a prompt that is alone on a large GPU."""
    known: dict[tuple[int, ...], list[int]] = {}

    def of(ids: list[int], tokens: int) -> list[int]:
        key = (*ids, -tokens)
        if key not in known:
            with emulated_device(tmp_path_factory.mktemp("alone"), gpu_bytes=256 * MIB) as device:
                engine = load_tiny(wide_llm, device, kv_bytes=32 * MIB)
                engine.submit(text_prompt("x", ids, max_tokens=tokens, ignore_eos=True))
                outputs: list[Output] = []
                while engine.has_work():
                    outputs += engine.step()
                engine.close()
            known[key] = tokens_of(outputs, "x")
        return known[key]

    return of


def ids_of(count: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(6, 384, (count,), generator=generator).tolist()  # type: ignore[no-any-return]


LOAD = [(60, 120), (40, 140), (70, 110), (50, 130), (30, 100)]
"""Input and output tokens of prompts that together need about three times the local memory."""


def submit_load(engine: LlmEngine) -> dict[str, list[int]]:
    prompts = {f"p{i}": ids_of(count, i) for i, (count, _) in enumerate(LOAD)}
    for (_, output), (name, ids) in zip(LOAD, prompts.items(), strict=True):
        engine.submit(text_prompt(name, ids, max_tokens=output, ignore_eos=True))
    return prompts


def assert_load_is_right(
    outputs: list[Output], prompts: dict[str, list[int]], expected: Callable[[list[int], int], list[int]]
) -> None:
    for (_, output), (name, ids) in zip(LOAD, prompts.items(), strict=True):
        assert tokens_of(outputs, name) == expected(ids, output), f"{name} differs"


def paged(host: Host) -> dict[tuple[str, str], int]:
    return {(p.source, p.target): p.nbytes for p in host.engine.stats().paged}


Expected = Callable[[list[int], int], list[int]]
Make = Callable[..., Host]
