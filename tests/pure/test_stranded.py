"""Prompts whose worker is gone: who goes on when, and who is to blame."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aquahost.daemon.live_prompt import LivePrompt
from aquahost.daemon.prompt_stream import PromptStream
from aquahost.daemon.stranded import Stranded
from aquahost.messages.prompts import Prompt, TextRequest, Tokens


def prompt(name: str, created_s: float = 0.0) -> LivePrompt:
    asked = Prompt(id=name, model="chat", tenant="t", request=TextRequest(text="hi"), created_s=created_s)
    return LivePrompt(asked, PromptStream(name, lambda _: None))


def produce(live: LivePrompt, tokens: int = 1) -> None:
    live.note(Tokens(live.id, "a", [1] * tokens), 0.0)


def names(prompts: list[LivePrompt]) -> list[str]:
    return [live.id for live in prompts]


def test_after_an_end_that_was_no_prompts_fault_all_go_on_at_once_in_order_of_arrival() -> None:
    stranded = Stranded()
    a, b, c = (prompt(name, at) for at, name in enumerate("abc"))
    assert stranded.strand([c, a], blamed=False) is None
    assert stranded.strand([b], blamed=False) is None
    assert stranded.holds_back
    assert not stranded.has_suspects
    assert names(stranded.take()) == ["a", "b", "c"]
    assert not stranded.holds_back


def test_suspects_go_on_one_at_a_time_each_once_the_last_is_cleared() -> None:
    stranded = Stranded()
    a, b = prompt("a", 0), prompt("b", 1)
    produce(b, 3)
    stranded.strand([a, b], blamed=True)
    assert stranded.has_suspects
    assert names(stranded.take()) == ["a"]
    assert stranded.take() == []
    stranded.note(a)
    assert stranded.take() == [], "it has not got beyond where the worker ended"
    produce(a)
    stranded.note(a)
    assert names(stranded.take()) == ["b"]
    stranded.note(b)
    assert stranded.holds_back
    produce(b)
    stranded.note(b)
    assert not stranded.holds_back


def test_who_is_alone_on_trial_when_the_worker_ends_again_is_guilty_and_the_others_are_still_tried() -> None:
    stranded = Stranded()
    a, b = prompt("a", 0), prompt("b", 1)
    stranded.strand([a, b], blamed=True)
    stranded.take()
    assert stranded.strand([a], blamed=True) == "a"
    assert names(stranded.take()) == ["b"]
    produce(b)
    stranded.note(b)
    assert not stranded.holds_back


def test_who_is_on_trial_in_company_is_tried_again_alone_first() -> None:
    stranded = Stranded()
    a, b, c = (prompt(name, at) for at, name in enumerate("abc"))
    stranded.strand([a, b, c], blamed=True)
    stranded.take()
    produce(a)
    stranded.note(a)
    assert names(stranded.take()) == ["b"]
    assert stranded.strand([a, b], blamed=True) is None, "it may have been the other"
    assert names(stranded.take()) == ["b"]
    assert stranded.strand([b], blamed=True) == "b"
    assert names(stranded.take()) == ["a"], "it is a suspect again"


def test_an_end_from_outside_makes_nobody_guilty() -> None:
    stranded = Stranded()
    a = prompt("a")
    stranded.strand([a], blamed=True)
    stranded.take()
    assert stranded.strand([a], blamed=False) is None
    assert names(stranded.take()) == ["a"], "it is tried again"
    assert stranded.strand([a], blamed=True) == "a"


def test_a_prompt_that_ends_on_trial_lets_the_next_one_in_once_the_worker_is_heard() -> None:
    stranded = Stranded()
    b = prompt("b", 1)
    stranded.strand([prompt("a", 0), b], blamed=True)
    stranded.take()
    stranded.discard("a")
    assert stranded.take() == [], "the worker may still be at work on it"
    stranded.heard()
    assert names(stranded.take()) == ["b"]


def test_nobody_is_guilty_of_what_a_cancelled_prompt_did() -> None:
    stranded = Stranded()
    stranded.strand([prompt("a", 0), prompt("b", 1)], blamed=True)
    stranded.take()
    stranded.discard("a")
    assert stranded.strand([], blamed=True) is None
    assert names(stranded.take()) == ["b"]


@given(
    poisons=st.sets(st.integers(0, 7), max_size=3),
    kills=st.lists(st.booleans(), max_size=30),
    fatal=st.integers(0, 3),
)
def test_a_poison_fails_alone_whatever_else_befalls_the_worker(
    poisons: set[int], kills: list[bool], fatal: int
) -> None:
    """A poison ends the worker whenever it would produce its token number `fatal`; others end after five tokens."""
    stranded = Stranded()
    live = {name: prompt(name, at) for at, name in enumerate("abcdefgh")}
    bad = {name for at, name in enumerate("abcdefgh") if at in poisons}
    aboard = dict(live)
    failed: set[str] = set()
    done: set[str] = set()
    outside = iter(kills)
    for _ in range(200):
        if not aboard and not stranded.holds_back:
            break
        crashes = any(name in bad and one.progress == fatal for name, one in aboard.items())
        if crashes or next(outside, False):
            guilty = stranded.strand(aboard.values(), blamed=crashes)
            failed |= {guilty} - {None} if guilty else set()
            aboard = {}
        for name, one in list(aboard.items()):
            produce(one)
            stranded.note(one)
            if one.progress == 5:
                done.add(name)
                stranded.discard(name)
                stranded.heard()
                del aboard[name]
        aboard |= {one.id: one for one in stranded.take()}
    assert failed == bad
    assert done == set(live) - bad
