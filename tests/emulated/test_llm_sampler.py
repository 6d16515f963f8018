"""Sampling: what the parameters promise, held against plain arithmetic and against drawn frequencies."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.engines.llm.sampler import FIRST_CANDIDATES, SamplerState, _invert, sample
from aquahost.messages.prompts import Sampling


def state(vocabulary: int, *, seen: list[int] | None = None, **rules: Any) -> SamplerState:
    return SamplerState(Sampling(**{"seed": 0, **rules}), seen or [], vocabulary, torch.device("cpu"))


def draw_many(row: torch.Tensor, count: int = 4000, **rules: Any) -> torch.Tensor:
    """Frequencies of `count` draws of one prompt's stream, many rows at a time being other prompts."""
    states = [state(len(row), **{**rules, "seed": seed}) for seed in range(200)]
    counts = torch.zeros(len(row))
    for _ in range(count // len(states)):
        for token_id in sample(row.repeat(len(states), 1), states).token_ids:
            counts[token_id] += 1
    return counts / counts.sum()


def test_temperature_zero_is_greedy_and_draws_nothing() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 1.0, 0.0]])
    assert sample(logits, [state(3, temperature=0), state(3, temperature=0)]).token_ids == [1, 0]


def test_frequencies_follow_the_softmax() -> None:
    row = torch.tensor([0.0, 1.0, 2.0, -1.0])
    assert torch.allclose(draw_many(row, temperature=1.0), row.softmax(-1), atol=0.03)
    assert torch.allclose(draw_many(row, temperature=2.0), (row / 2).softmax(-1), atol=0.03)


@pytest.mark.parametrize(("rules", "kept"), [
    ({"top_k": 1}, 1),
    ({"top_k": 3}, 3),
    ({"top_p": 0.5}, 1),  # 0.55 is the likeliest
    ({"top_p": 0.56}, 2),
    ({"top_p": 0.0}, 1),
    ({"top_p": 0.9, "top_k": 2}, 2),  # of the two, 0.55 + 0.25, the first has 0.69
    ({"top_p": 0.6, "top_k": 2}, 1),
])  # fmt: skip
def test_top_k_and_top_p_keep_the_likeliest(rules: dict[str, float], kept: int) -> None:
    row = torch.tensor([0.05, 0.55, 0.15, 0.25]).log()
    order = [1, 3, 2, 0]
    frequencies = draw_many(row, count=1000, temperature=1.0, **rules)
    assert {i for i in range(4) if frequencies[i] > 0} == set(order[:kept])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    vocabulary=st.sampled_from([5, 63, 64, 65, 300]),
    spread=st.sampled_from([0.1, 1.0, 8.0]),
    top_p=st.floats(0.01, 1.0),
    top_k=st.integers(0, 320),
)
def test_only_tokens_of_the_nucleus_are_drawn(
    seed: int, vocabulary: int, spread: float, top_p: float, top_k: int
) -> None:
    """Also where the first candidates don't hold the nucleus: a flat distribution over many tokens."""
    generator = torch.Generator().manual_seed(seed)
    row = torch.randn(vocabulary, generator=generator) * spread
    order = row.argsort(descending=True)[: top_k or None]
    mass = row[order].softmax(-1)
    kept = int((mass.double().cumsum(-1) - mass < top_p + 1e-5).sum())
    allowed = set(order[: max(kept, 1)].tolist())
    states = [state(vocabulary, temperature=1.0, top_p=top_p, top_k=top_k, seed=i) for i in range(20)]
    assert set(sample(row.repeat(20, 1), states).token_ids) <= allowed


def test_a_flat_distribution_over_more_than_the_first_candidates_is_drawn_whole() -> None:
    vocabulary = FIRST_CANDIDATES * 4
    frequencies = draw_many(torch.zeros(vocabulary), count=8000, temperature=1.0, top_p=0.999)
    assert int((frequencies > 0).sum()) > FIRST_CANDIDATES * 3.9


def test_a_prompts_draws_do_not_depend_on_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(3, 500, generator=generator) * 0.2  # flat: top_p needs more than the first candidates
    rules = {"temperature": 0.9, "top_p": 0.97, "seed": 5}
    alone = [sample(rows[:1].clone(), [one]).token_ids[0] for one in [state(500, **rules)] for _ in range(8)]
    mine, wide, greedy = state(500, **rules), state(500, temperature=1, top_k=400), state(500, temperature=0)
    together = [sample(rows.clone(), [mine, wide, greedy]).token_ids[0] for _ in range(8)]
    assert together == alone


def test_penalties_are_the_formulas() -> None:
    row = torch.tensor([2.0, -2.0, 1.0, 0.5])
    penalised = row.clone()
    one = state(4, seen=[0, 1], repetition_penalty=2.0, presence_penalty=0.5, frequency_penalty=0.25)
    one.observe(2)
    one.observe(2)
    one.adjust(penalised)
    assert penalised.tolist() == [1.0, -4.0, 0.5 - 0.5 - 2 * 0.25, 0.5]


def test_a_bias_decides() -> None:
    logits = torch.tensor([[5.0, 0.0, 0.0]])
    assert sample(logits, [state(3, temperature=0, logit_bias={2: 100.0, 0: -100.0})]).token_ids == [2]


def test_rows_that_are_no_numbers_are_marked_and_the_others_served() -> None:
    logits = torch.zeros(4, 3)
    logits[:, 1] = 1.0
    logits[0, 2], logits[2] = float("nan"), float("inf")
    states = [state(3, temperature=t) for t in (0, 0, 1, 0.001)]
    assert sample(logits, states).token_ids == [-1, 1, -1, 1]


@pytest.mark.parametrize("temperature", [1e-300, 1e-46, 1e-40, 9e-6, 2e-5])
def test_tiny_temperatures_are_greedy(temperature: float) -> None:
    logits = torch.tensor([[0.0, 5.0, 1.0, 0.0]])
    assert sample(logits, [state(4, temperature=temperature)]).token_ids == [1]


@pytest.mark.parametrize("point", [0.0, 0.5, 1 - 2**-53, 1.0, float("nan")])
def test_a_token_of_weight_zero_is_never_chosen(point: float) -> None:
    weights = torch.tensor([[0.0, 0.3, 0.0, 0.1, 0.0], [0.0, 0.0, 1e-45, 0.0, 0.0]])
    points = torch.full((2,), point, dtype=torch.float64)
    chosen = _invert(weights, points, torch.tensor([1, 2]))
    assert (weights.gather(1, chosen[:, None]) > 0).all()


@pytest.mark.parametrize("temperature", [1e-30, 1e-5, 1e3])
def test_no_temperature_overflows(temperature: float) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]])
    (token_id,) = sample(logits, [state(3, temperature=temperature)]).token_ids
    assert token_id == 0 or temperature > 1


def test_logprobs_are_of_the_raw_logits() -> None:
    row = torch.tensor([1.0, 2.0, 3.0])
    rules = state(3, temperature=0, logprobs=2, logit_bias={0: 50.0})
    choices = sample(row.repeat(1, 1), [rules])
    assert choices.token_ids == [0]
    found = choices.logprobs[0]
    expected = row.log_softmax(-1).tolist()
    assert found.chosen == pytest.approx(expected[0])
    assert found.top_ids == [2, 1]
    assert found.top == pytest.approx([expected[2], expected[1]])


def test_logprobs_zero_reports_the_chosen_token_alone() -> None:
    logits = torch.tensor([[0.0, 0.0]])
    found = sample(logits, [state(2, temperature=0, logprobs=0)]).logprobs[0]
    assert found.top == []
    assert found.chosen == pytest.approx(math.log(0.5))
