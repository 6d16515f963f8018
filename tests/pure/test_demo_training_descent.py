"""A training that is stopped goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from demo_training.schedule import KEPT_EVERY, WARM_STEPS, Descent, rate

STEPS = 2 * KEPT_EVERY + 50


def new_model() -> torch.nn.Linear:
    torch.manual_seed(3)
    return torch.nn.Linear(4, 1)


def descent_of(model: torch.nn.Linear, kept: Path, losses: list[float], *, steps: int = STEPS) -> Descent:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    return Descent(
        {"model": model},
        optimizer,
        steps=steps,
        highest=0.05,
        told=lambda step, loss: losses.append(loss),
        kept=kept / "model.pt",
    )


def go(model: torch.nn.Linear, descent: Descent, *, until: int = STEPS) -> None:
    while descent.goes_on and descent.step < until:
        points = torch.randn(8, 4)
        descent.down((model(points) - points.sum(1, keepdim=True)).square().mean())
        descent.keep()


def test_a_stopped_training_ends_where_one_that_was_not_does(tmp_path: Path) -> None:
    straight, losses = new_model(), list[float]()
    go(straight, descent_of(straight, tmp_path / "one", losses))
    assert losses[-1] < losses[0] / 10

    stopped, before, after = new_model(), list[float](), list[float]()
    go(stopped, descent_of(stopped, tmp_path / "two", before), until=2 * KEPT_EVERY - 10)
    again = new_model()
    descent = descent_of(again, tmp_path / "two", after)
    assert descent.step == KEPT_EVERY
    go(again, descent)
    assert [*before[:KEPT_EVERY], *after] == losses
    assert torch.equal(again.weight, straight.weight)


def test_one_that_is_done_makes_no_more_steps(tmp_path: Path) -> None:
    losses: list[float] = []
    model = new_model()
    go(model, descent_of(model, tmp_path, losses))
    assert not descent_of(new_model(), tmp_path, losses).goes_on
    assert len(losses) == STEPS


def test_one_of_another_length_begins_anew(tmp_path: Path) -> None:
    model = new_model()
    go(model, descent_of(model, tmp_path, []))
    assert descent_of(new_model(), tmp_path, [], steps=STEPS + 1).step == 0


def test_the_rate_warms_up_and_falls_to_a_tenth() -> None:
    rates = [rate(step, 1000, 1.0) for step in range(1000)]
    assert max(rates) == rates[WARM_STEPS] == pytest.approx(1.0)
    assert rates[:WARM_STEPS] == sorted(rates[:WARM_STEPS])
    assert rates[WARM_STEPS:] == sorted(rates[WARM_STEPS:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, rel=0.01)
