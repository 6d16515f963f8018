"""Times to the first token, and what tenants have had: prompts that have ended count, memory does not grow."""

from __future__ import annotations

import pytest

from aquahost.daemon.first_tokens import KEPT, FirstTokens
from aquahost.messages.prompts import (
    Accepted,
    ErrorDetail,
    Finished,
    FinishReason,
    ImageRequest,
    Progress,
    PromptState,
    StateChanged,
    TextRequest,
    Tokens,
)
from aquahost.messages.snapshot import FirstTokensView, TenantView
from aquahost.messages.wire import Standing
from router_desk import WORKER, Desk


def test_percentiles_of_the_last_minute() -> None:
    times = FirstTokens()
    assert times.view(0.0) == FirstTokensView(prompts=0, p50_s=None, p99_s=None)
    for n in range(1, 101):
        times.note(n / 100, now_s=float(n) / 10)
    assert times.view(10.0) == FirstTokensView(prompts=100, p50_s=0.5, p99_s=0.99)
    times.note(7.0, now_s=65.0)
    assert times.view(65.0) == FirstTokensView(prompts=52, p50_s=0.75, p99_s=7.0)
    assert times.view(125.0) == FirstTokensView(prompts=1, p50_s=7.0, p99_s=7.0)
    assert times.view(126.0).prompts == 0


def test_however_many_begin_few_are_kept() -> None:
    times = FirstTokens()
    for n in range(3 * KEPT):
        times.note(float(n), 0.0)
    assert times.view(0.0).prompts == KEPT


def test_a_prompt_counts_once_by_its_first_token_or_step() -> None:
    desk = Desk()
    chat = desk.ask()
    paint = desk.router.submit("paint", ImageRequest(text="x"), "tester")
    desk.clock.advance(2.0)
    desk.router.on_outputs(WORKER, [Accepted(chat.prompt_id, 3), Tokens(chat.prompt_id, "a", [1])])
    desk.clock.advance(1.0)
    desk.router.on_outputs(WORKER, [Tokens(chat.prompt_id, "b", [2]), Progress(paint.prompt_id, 1, 4)])
    desk.router.on_outputs(WORKER, [Progress(paint.prompt_id, 2, 4)])
    assert desk.router.first_tokens.view(desk.clock.now_s()) == FirstTokensView(prompts=2, p50_s=2.0, p99_s=3.0)


def tenants(desk: Desk) -> dict[str, TenantView]:
    return {view.name: view for view in desk.router.tenants.views(desk.router.views(desk.clock.now_s()))}


def test_tenants_are_those_configured_and_those_who_asked() -> None:
    desk = Desk(weights={"web": 3.0, "batch": 1.0})
    assert [(one.name, one.weight, one.live) for one in tenants(desk).values()] == [("batch", 1.0, 0), ("web", 3.0, 0)]
    desk.ask()
    assert list(tenants(desk)) == ["batch", "tester", "web"]


def test_a_tenant_s_totals_go_on_after_its_prompts() -> None:
    desk = Desk(weights={"web": 2.0})
    first = desk.router.submit("chat", TextRequest(text="x"), "web")
    second = desk.router.submit("chat", TextRequest(text="y"), "web")
    desk.router.on_outputs(
        WORKER, [StateChanged(first.prompt_id, PromptState.RUNNING), Tokens(first.prompt_id, "ab", [1, 2])]
    )
    desk.router.on_standings(WORKER, [Standing(first.prompt_id, 0.5), Standing(second.prompt_id, 0.25)])
    web = tenants(desk)["web"]
    assert (web.live, web.waiting, web.output_tokens, web.service_s) == (2, 1, 2, pytest.approx(0.75))
    end = Finished(prompt_id=first.prompt_id, reason=FinishReason.STOP, service_s=0.75)
    desk.router.on_outputs(WORKER, [Tokens(first.prompt_id, "c", [3]), end])
    web = tenants(desk)["web"]
    assert (web.live, web.waiting, web.output_tokens, web.service_s) == (1, 1, 3, pytest.approx(1.0))
    desk.router.cancel(second.prompt_id)
    web = tenants(desk)["web"]
    assert (web.live, web.waiting, web.output_tokens, web.service_s) == (0, 0, 3, pytest.approx(1.0))


def test_what_a_dead_worker_had_given_is_not_forgotten() -> None:
    desk = Desk()
    stream = desk.ask()
    desk.router.on_standings(WORKER, [Standing(stream.prompt_id, 0.5)])
    desk.router.strand(desk.models["chat"], blamed=False)
    desk.router.end_prompts(desk.models["chat"], ErrorDetail(message="gone"))
    assert tenants(desk)["tester"].service_s == pytest.approx(0.5)
