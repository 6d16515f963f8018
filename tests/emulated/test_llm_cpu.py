"""What the language engine does for CPUs: threads by the width of a step, the vocabulary's matrix by columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from aquahost.engines.llm.step_threads import WIDE_STEP_BYTES, StepThreads
from tiny_llms import emulated_device, load_tiny, make_tiny_llm


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def weighing(weights_bytes: int) -> torch.nn.Module:
    return torch.nn.Linear(1, weights_bytes // 4, bias=False)


def test_narrow_steps_of_a_small_model_take_one_thread_and_wide_ones_all() -> None:
    threads = StepThreads(weighing(WIDE_STEP_BYTES // 8))
    seen = []
    for tokens in (1, 7, 8, 512, 1):
        threads.fit(tokens)
        seen.append(torch.get_num_threads())
    assert seen == [1, 1, 2, 2, 1]


def test_every_step_of_a_large_model_takes_all_threads() -> None:
    threads = StepThreads(weighing(WIDE_STEP_BYTES))
    threads.fit(1)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("kind", "by_columns"), [("llama", True), ("gpt2", False)])
def test_only_an_untied_head_is_stored_by_columns(tmp_path: Path, kind: str, by_columns: bool) -> None:
    folder = make_tiny_llm(tmp_path / "model", kind)
    with emulated_device(tmp_path / "node") as device:
        engine = load_tiny(folder, device)
        weight = engine.runner.model.get_output_embeddings().weight
        assert weight.T.is_contiguous() is by_columns
        del weight
        engine.close()
