"""The measurements of lending, cut short: each moves blocks between the tiers that its name says, or raises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from aquahost.bench import long_prompt, overlap, recall


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_overlap_measures_paging_to_the_host_and_to_a_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_STEPS", 24), ("_ROUNDS", 1), ("_RUNNING", 4)):
        monkeypatch.setattr(overlap, name, value)
    figures = overlap.measure_overlap()
    assert ["host" in figure.name for figure in figures] == [True, False, False, False]
    assert all(not figure.note.startswith("0.00 MiB") for figure in figures)


def test_recall_measures_leases_that_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "_RECALLS", 3)
    p99, median = recall.measure_recall()
    assert p99.unit == median.unit == "ms"
    assert "moved to the host" in p99.note


def test_a_long_prompt_stays_where_it_is_to_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_prompt, "_RUNS", 1)
    monkeypatch.setattr(long_prompt, "_OUTPUT_TOKENS", 24)
    (figure,) = long_prompt.measure_long_prompt()
    assert figure.value > 1, "reading over a link ten times slower was no slower"
