"""The engine without a model."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from aquahost.config.settings import Kind, ModelSettings, Policy, SchedulerSettings, ToySettings
from aquahost.engines.engine import Engine
from aquahost.engines.toy import DEFAULT_TOKENS, ToyEngine, load_toy
from aquahost.errors import InvalidRequestError, LoadError
from aquahost.messages.memory import ClaimSettled
from aquahost.messages.prompts import (
    Finished,
    FinishReason,
    ImageRequest,
    Output,
    Prompt,
    PromptState,
    Request,
    Sampling,
    StateChanged,
    TextRequest,
    Tokens,
)
from aquahost.messages.wire import LoadProgress, Standing


def engine(
    *,
    max_batch: int = 64,
    step_s: float = 0.0,
    max_context: int | None = None,
    policy: Policy = Policy.FCFS,
    **more: Any,
) -> ToyEngine:
    settings = ModelSettings(kind=Kind.TOY, toy=ToySettings(step_s=step_s), max_context=max_context, policy=policy)
    return ToyEngine(settings, SchedulerSettings(max_batch=max_batch), **more)


def prompt(request: Request | str = "hello there", prompt_id: str = "p", **sampling: Any) -> Prompt:
    if isinstance(request, str):
        request = TextRequest(text=request, sampling=Sampling(**sampling))
    return Prompt(id=prompt_id, model="toy", tenant="t", request=request, created_s=0.0)


def run(toy: Engine) -> list[Output]:
    outputs: list[Output] = []
    while toy.has_work():
        outputs += toy.step()
    return outputs


def reply(toy: Engine, prompt: Prompt) -> tuple[str, Finished]:
    toy.submit(prompt)
    outputs = run(toy)
    assert isinstance(outputs[-1], Finished)
    return "".join(output.text for output in outputs if isinstance(output, Tokens)), outputs[-1]


def test_a_reply_has_as_many_words_as_asked_and_says_so() -> None:
    text, finished = reply(engine(), prompt(max_tokens=7))
    assert len(text.split()) == 7
    assert not text.startswith(" ")
    assert finished == Finished(
        prompt_id="p", reason=FinishReason.LENGTH, input_tokens=2, output_tokens=7, service_s=finished.service_s
    )


def test_steps_are_counted_as_time_of_the_device_and_as_service_of_the_prompts() -> None:
    toy = engine(step_s=0.5, sleep=lambda _: None)
    toy.submit(prompt(prompt_id="a", max_tokens=2))
    toy.submit(prompt(prompt_id="b", max_tokens=4))
    ends = {output.prompt_id: output for output in run(toy) if isinstance(output, Finished)}
    assert toy.stats().busy_s == pytest.approx(2.0)
    assert (ends["a"].service_s, ends["b"].service_s) == (pytest.approx(0.5), pytest.approx(1.5))


def test_a_reply_without_a_limit_ends_by_itself() -> None:
    text, finished = reply(engine(), prompt())
    assert len(text.split()) == DEFAULT_TOKENS
    assert finished.reason is FinishReason.STOP


def test_the_reply_depends_on_the_prompt_alone() -> None:
    first, _ = reply(engine(), prompt("one"))
    assert reply(engine(), prompt("one", prompt_id="q"))[0] == first
    assert reply(engine(), prompt("two"))[0] != first


def test_messages_and_token_ids_are_prompts_too() -> None:
    conversation = TextRequest(messages=[{"role": "user", "content": "one two three"}])
    assert reply(engine(), prompt(conversation))[1].input_tokens == 3
    assert reply(engine(), prompt(TextRequest(token_ids=[1, 2, 3, 4])))[1].input_tokens == 4


def test_echo_puts_the_prompt_first() -> None:
    text, _ = reply(engine(), prompt(TextRequest(text="say this", echo=True, sampling=Sampling(max_tokens=2))))
    assert text.startswith("say this ")
    assert len(text.split()) == 4


@pytest.mark.parametrize("cut", [(1, 3), (0, 5), (4, 9), (9, 22), (15, 16), (5, 6)])
def test_the_reply_ends_before_a_stop_string_wherever_it_lies(cut: tuple[int, int]) -> None:
    whole, _ = reply(engine(), prompt(max_tokens=40))
    stop = whole[slice(*cut)]
    text, finished = reply(engine(), prompt(max_tokens=40, stop=("not there", stop)))
    assert text == whole[: whole.index(stop)]
    assert finished.reason is FinishReason.STOP
    assert finished.output_tokens <= 40


def test_a_stop_string_that_never_comes_changes_nothing_even_in_an_endless_reply() -> None:
    toy = engine()
    toy.submit(prompt(max_tokens=10**12, stop=("42",)))
    assert isinstance(toy.step()[-1], Tokens)


def test_every_running_prompt_gets_one_word_a_step() -> None:
    toy = engine()
    toy.submit(prompt(prompt_id="a", max_tokens=3))
    toy.step()
    toy.submit(prompt(prompt_id="b", max_tokens=3))
    outputs = toy.step()
    assert [output.prompt_id for output in outputs if isinstance(output, Tokens)] == ["a", "b"]
    assert toy.stats().running == 2
    assert toy.stats().output_tokens == 3


def test_prompts_beyond_the_largest_batch_wait_in_order() -> None:
    toy = engine(max_batch=1)
    for prompt_id in "abc":
        toy.submit(prompt(prompt_id=prompt_id, max_tokens=1))
    toy.step()
    assert (toy.stats().running, toy.stats().waiting) == (0, 2)
    begun = [output.prompt_id for output in run(toy) if isinstance(output, StateChanged)]
    assert begun == ["b", "c"]


def test_under_fair_a_tenant_s_many_prompts_get_no_more_than_another_s_one() -> None:
    toy = engine(max_batch=1, policy=Policy.FAIR)
    for prompt_id in ("many1", "many2", "many3", "one"):
        toy.submit(msgspec.structs.replace(prompt(prompt_id=prompt_id, max_tokens=100), tenant=prompt_id[:3]))
    outputs = [output for _ in range(60) for output in toy.step()]
    words = [output.prompt_id for output in outputs if isinstance(output, Tokens)]
    assert [words.count(name) for name in ("many1", "many2", "many3", "one")] == [10, 10, 10, 30]
    stats = toy.stats()
    assert (stats.running, stats.suspended, stats.waiting) == (1, 3, 0)


def test_under_priority_a_smaller_number_goes_first_and_suspends_the_others() -> None:
    toy = engine(max_batch=1, step_s=0.5, policy=Policy.PRIORITY, sleep=lambda _: None)
    toy.submit(msgspec.structs.replace(prompt(prompt_id="later", max_tokens=3), priority=1))
    toy.step()
    toy.submit(prompt(prompt_id="urgent", max_tokens=2))
    assert toy.standings() == [Standing("urgent", 0.0), Standing("later", 0.5, position=1, next_slice_s=0.5)]
    assert toy.step()[:2] == [
        StateChanged("later", PromptState.SUSPENDED),
        StateChanged("urgent", PromptState.RUNNING),
    ]
    assert [output.prompt_id for output in run(toy) if isinstance(output, Finished)] == ["urgent", "later"]


def test_a_prompt_says_when_it_begins() -> None:
    toy = engine()
    toy.submit(prompt())
    assert toy.step()[0] == StateChanged("p", PromptState.RUNNING)


@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_cancelled_prompt_is_not_heard_of_again(steps_before: int) -> None:
    toy = engine()
    toy.submit(prompt(prompt_id="gone"))
    toy.submit(prompt(prompt_id="stays", max_tokens=4))
    for _ in range(steps_before):
        toy.step()
    toy.cancel("gone")
    toy.cancel("never was")
    assert {output.prompt_id for output in run(toy)} == {"stays"}


def test_log_probabilities_come_with_each_token_if_asked_for() -> None:
    toy = engine()
    toy.submit(prompt(max_tokens=2, logprobs=1))
    tokens = [output for output in run(toy) if isinstance(output, Tokens)]
    assert all(
        token.logprobs is not None and [choice.chosen.token_id for choice in token.logprobs] == token.token_ids
        for token in tokens
    )


def test_a_step_takes_its_time() -> None:
    slept: list[float] = []
    toy = engine(step_s=0.25, sleep=slept.append)
    toy.submit(prompt(max_tokens=3))
    run(toy)
    assert slept == [0.25] * 3


def test_it_waits_for_prompts_alone_and_has_no_memory_to_speak_of() -> None:
    toy = engine()
    assert toy.wait_s() == 0.5
    toy.submit(prompt(max_tokens=1))
    toy.tend()
    assert toy.wait_s() == 0
    run(toy)
    toy.on_memory(ClaimSettled(0))
    assert toy.memory_reports() == []
    assert toy.stats().weights_bytes == 0


def test_it_knows_how_its_prompts_stand() -> None:
    toy = engine(max_batch=2, step_s=0.5, sleep=lambda _: None)
    for name, words in (("a", 2), ("b", 4), ("c", 3), ("d", 9), ("e", 9)):
        toy.submit(prompt(prompt_id=name, max_tokens=words))
    toy.step()
    assert [(one.prompt_id, one.service_s, one.position) for one in toy.standings()] == [
        ("a", 0.25, 0),
        ("b", 0.25, 0),
        ("c", 0.0, 1),
        ("d", 0.0, 2),
        ("e", 0.0, 3),
    ]
    assert all((one.next_slice_s > 0) == (one.position > 0) for one in toy.standings())
    run(toy)
    assert toy.standings() == []


def test_images_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="text only"):
        engine().submit(prompt(ImageRequest(text="a fox")))


def test_no_tokens_are_refused() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        engine().submit(prompt(max_tokens=0))
    assert caught.value.param == "max_tokens"


def test_a_prompt_longer_than_the_context_is_refused_and_a_reply_is_cut_to_fit() -> None:
    toy = engine(max_context=8)
    with pytest.raises(InvalidRequestError) as caught:
        toy.submit(prompt("word " * 8))
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    conversation = TextRequest(messages=[{"role": "user", "content": "word " * 8}])
    with pytest.raises(InvalidRequestError) as caught:
        toy.submit(prompt(conversation))
    assert caught.value.param == "messages"
    _, finished = reply(toy, prompt("word " * 5, max_tokens=100))
    assert (finished.output_tokens, finished.reason) == (3, FinishReason.LENGTH)


def test_the_load_reports_progress_up_to_the_end() -> None:
    reports: list[LoadProgress] = []
    settings = ModelSettings(kind=Kind.TOY, toy=ToySettings(load_s=0.0))
    load_toy("toy", settings, SchedulerSettings(), None, reports.append)
    assert [report.done for report in reports] == sorted(report.done for report in reports)
    assert reports[-1].done == reports[-1].total > 0


def test_a_load_fails_with_the_reason_that_the_entry_gives() -> None:
    settings = ModelSettings(kind=Kind.TOY, toy=ToySettings(load_s=0.0, fail="no such thing"))
    with pytest.raises(LoadError, match="no such thing"):
        load_toy("toy", settings, SchedulerSettings(), None, lambda _: None)
