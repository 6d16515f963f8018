"""Whose step is next."""

from __future__ import annotations

import pytest

from aquahost.engines.turns import Turns


def _take(turns: Turns, count: int) -> str:
    return "".join(turns.take() or "-" for _ in range(count))


def test_prompts_begun_take_steps_in_turn() -> None:
    turns = Turns(max_begun=3)
    for prompt_id in "abc":
        turns.add(prompt_id)
    assert _take(turns, 7) == "abcabca"


def test_no_more_than_max_begun_are_begun_and_the_oldest_waiting_is_next() -> None:
    turns = Turns(max_begun=2)
    for prompt_id in "abcd":
        turns.add(prompt_id)
    assert _take(turns, 4) == "abab"
    assert (turns.begun, turns.waiting) == (2, 2)
    turns.remove("a")
    assert _take(turns, 4) == "cbcb"
    turns.remove("d")
    turns.remove("c")
    assert _take(turns, 2) == "bb"
    assert (turns.begun, turns.waiting) == (1, 0)


def test_a_new_prompt_goes_first() -> None:
    turns = Turns(max_begun=2)
    turns.add("a")
    assert _take(turns, 3) == "aaa"
    turns.add("b")
    assert _take(turns, 3) == "bab"


def test_one_that_may_not_begin_yet_leaves_the_turn_to_those_begun() -> None:
    turns = Turns(max_begun=2)
    turns.add("a")
    assert turns.next_to_begin == "a"
    assert turns.take(begin=False) is None
    assert turns.take() == "a"
    turns.add("b")
    turns.add("c")
    assert [turns.take(begin=False) for _ in range(2)] == ["a", "a"]
    assert (turns.next_to_begin, turns.begun_ids()) == ("b", ["a"])
    assert turns.take() == "b"
    assert turns.next_to_begin is None, "no more may begin"


def test_without_prompts_there_is_no_turn() -> None:
    turns = Turns(max_begun=1)
    assert turns.take() is None
    turns.remove("unknown")
    turns.add("a")
    turns.remove("a")
    assert turns.take() is None


def test_at_least_one_prompt_can_be_begun() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Turns(max_begun=0)
