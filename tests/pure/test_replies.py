"""Figures of a replay, from times made up."""

from __future__ import annotations

import os
import statistics
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.bench.burst import Setup, models_yaml
from aquahost.bench.process import OthersCpu
from aquahost.config.loader import load
from aquahost.traces.built_in import make_trace
from aquahost.traces.replies import Reply, quantile, row
from aquahost.traces.trace import TracePrompt


def reply(arrival_s: float, *chunk_s: float, tokens: int | None = None, tenant: str = "", failure: str = "") -> Reply:
    """One prompt's, whose stream ends with its last chunk; a token a chunk unless told otherwise."""
    return Reply(
        prompt=TracePrompt(number=0, arrival_s=arrival_s, input_tokens=10, output_tokens=10, tenant=tenant),
        chunk_s=chunk_s,
        done_s=max(chunk_s, default=0.0),
        input_tokens=0 if failure else 10,
        output_tokens=len(chunk_s) if tokens is None else tokens,
        failure=failure,
    )


def test_a_row_of_two_streams() -> None:
    figures = row("fair", "peer", [reply(1, 2, 2.5, 4), reply(2, 5, 6, tokens=5)], 123)
    assert (figures.policy, figures.tier, figures.paged_bytes) == ("fair", "peer", 123)
    assert figures.ttft_p50_s == pytest.approx(2)
    assert figures.ttft_max_s == pytest.approx(3)
    assert figures.itl_p50_s == pytest.approx(1)
    assert figures.longest_gap_s == pytest.approx(1.5)
    assert figures.completion_mean_s == pytest.approx(3.5)
    assert figures.output_tokens == 8
    assert figures.took_s == pytest.approx(5), "from the first arrival to the last completion"
    assert figures.output_tokens_per_s == pytest.approx(8 / 5)
    assert (figures.prompts, figures.failed, figures.tenants) == (2, 0, {})


def test_failed_prompts_are_counted_and_nothing_else() -> None:
    good = [reply(0, 1, 2)]
    failed = [reply(0, failure="HTTP 429"), reply(0, failure="HTTP 429"), reply(0.1, failure="Connection refused")]
    figures = row("-", "-", good + failed)
    assert (figures.prompts, figures.failed) == (4, 3)
    assert figures.failures == {"HTTP 429": 2, "Connection refused": 1}
    assert (figures.ttft_max_s, figures.output_tokens, figures.input_tokens) == (1, 2, 10)


@pytest.mark.parametrize("replies", [[], [reply(0, failure="HTTP 500")]])
def test_nothing_gives_no_times(replies: list[Reply]) -> None:
    figures = row("-", "-", replies)
    assert figures.ttft_p50_s is figures.itl_p99_s is figures.completion_mean_s is None
    assert figures.output_tokens_per_s == 0


def test_a_reply_without_text_has_its_first_token_at_its_end() -> None:
    silent = Reply(prompt=reply(1).prompt, done_s=3, output_tokens=4)
    assert silent.ttft_s == 2
    assert silent.tokens_within(2, 4) == 4


def test_shares_are_of_the_time_in_which_all_tenants_had_prompts() -> None:
    heavy = reply(0, *range(1, 11), tenant="heavy")
    light = reply(2, 3, 4, 5, tenant="light")
    tenants = row("fair", "peer", [heavy, light]).tenants
    # From 2 to 5 s: heavy's chunks of 2, 3, 4 and 5 s, and all of light's.
    assert tenants["heavy"].token_share == pytest.approx(4 / 7)
    assert tenants["light"].token_share == pytest.approx(3 / 7)
    assert tenants["light"].ttft_p99_s == 1
    apart = row("fair", "peer", [heavy, reply(20, 21, tenant="light")]).tenants
    assert apart["light"].token_share is None
    assert row("fair", "peer", [light]).tenants["light"].token_share is None


@given(st.lists(st.floats(0, 1e6), min_size=2), st.integers(1, 99))
def test_quantiles_are_those_of_the_standard_library(values: list[float], percent: int) -> None:
    expected = statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
    assert quantile(sorted(values), percent / 100) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("tier", "borrows", "uses_host"), [("recompute", False, False), ("host", False, True), ("peer", True, True)]
)
def test_tiers_are_what_a_daemon_is_told(tier: str, borrows: bool, uses_host: bool, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "models.yaml"
    path.write_text(models_yaml(make_trace("tenants", seed=1, prompts=660), Setup("fair", tier), "demo:chat"))
    settings = load(path, {}).settings
    model = settings.models["tiny"]
    assert settings.scheduler.policy == "fair"
    assert set(settings.tenants) == {"light", "heavy"}
    assert settings.leasing.park_after_s is None
    assert bool(model.borrow_bytes) == borrows
    assert bool(model.host_kv_bytes) == uses_host
    assert model.max_queue == 660
    assert model.kv_bytes == 8 * 448 * 4096


def test_what_others_keep_busy_is_what_the_measured_do_not() -> None:
    everybody, nobody = OthersCpu([]), OthersCpu([os.getpid()])
    until = time.perf_counter() + 0.3
    while time.perf_counter() < until:
        pass
    mine, not_mine = everybody.cores(), nobody.cores()
    assert mine is not None
    assert not_mine is not None
    assert mine - not_mine > 0.2
    assert OthersCpu([2**22 + 1]).cores() is None
