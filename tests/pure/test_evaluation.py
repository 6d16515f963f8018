"""The evaluation's cases are about what they say, and their ratios are those of their rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from aquahost.bench.evaluation.cases import CASES, case
from aquahost.bench.evaluation.run import Evaluation
from aquahost.config.loader import load_settings
from aquahost.profiles.data_sheets import parse_node
from aquahost.profiles.profile import LanguageCosts, Profile
from aquahost.simulator.aqua.coordinator import AquaCoordinator, Pair
from simulated import gated_profile, language_profile

FOLDER = Path(__file__).parents[2] / "examples" / "evaluation"


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_a_case_has_its_file_its_models_and_no_gpu_that_lies_empty(one: object) -> None:
    found = case(one.name)  # type: ignore[attr-defined]
    settings = load_settings(FOLDER / found.file)
    assert {burst.model for burst in found.bursts} <= set(settings.models)
    assert not found.subject or found.subject in settings.models
    gpus = parse_node(found.node).gpus
    AquaCoordinator([Pair(*lent) for lent in found.lent_bytes or ()])
    assert all(max(donor, borrower) < gpus for donor, borrower, _ in found.lent_bytes or ())
    held = sum(model.tensor_parallel * model.replicas for model in settings.models.values())
    assert gpus - held <= (1 if len(settings.models) == 1 else 0), "at most the one neighbour that lends"


def test_comparisons_are_ratios_of_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def made_up(models: dict[str, object], *args: object, **kwargs: object) -> dict[str, Profile]:
        language = language_profile(weights_bytes=70 * 10**9, kv_token_bytes=196608, context_tokens=16384)
        assert isinstance(language.costs, LanguageCosts)
        return {name: gated_profile() if name == "sdxl" else language for name in models}

    monkeypatch.setattr("aquahost.bench.evaluation.run.profiles_of", made_up)
    small = dataclasses.replace(case("a-34b"), setups=(("fcfs", "recompute"), ("fair", "peer"), ("aqua", "peer")))
    result = Evaluation(FOLDER, lambda said: None).run(small, (1,))
    rows = {(row.policy, row.tier): row.figures for row in result.rows}
    assert [one.against for one in result.comparisons] == ["fcfs × recompute", "aqua × peer"]
    ours, theirs = rows["fair", "peer"], rows["fcfs", "recompute"]
    assert result.comparisons[0].ttft_p99_times == pytest.approx(
        (theirs["ttft_p99_s"] or 0) / (ours["ttft_p99_s"] or 1)
    )
    assert result.comparisons[0].ttft_p99_by_seed == [result.comparisons[0].ttft_p99_times]
