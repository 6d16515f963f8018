"""What the chat demo learns from: the grammar reads every story that it tells, and nothing that is no story."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo_training import stories, words
from demo_training.chat_data import Check, checks, conversations


@given(st.sampled_from(words.HEROES), st.integers(0, 2**32))
def test_a_story_is_read_as_what_it_was_told_of(hero: str, seed: int) -> None:
    told = stories.tell(hero, Random(seed))
    read = stories.read(told.text)
    assert read is not None
    assert read.slots["hero"] == hero
    assert read.slots.items() <= told.slots.items()


@given(st.integers(0, 2**32), st.data())
def test_a_word_too_many_or_too_few_makes_no_story(seed: int, data: st.DataObject) -> None:
    parts = stories.tell("fox", Random(seed)).text.split(" ")
    at = data.draw(st.integers(0, len(parts) - 1))
    assert stories.read(" ".join(parts[:at] + parts[at + 1 :])) is None
    assert stories.read(" ".join([*parts[:at], "very", *parts[at:]])) is None


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("an old fox", "a old fox"), ("the fox", "the wolf"), ("fox was", "fox is"), ("friends.", "friends")],
)
def test_grammar_and_topic_are_held(right: str, wrong: str) -> None:
    chance = Random(3)
    told = next(text for _ in range(2000) if right in (text := stories.tell("fox", chance).text))
    assert stories.read(told) is not None
    assert stories.read(told.replace(right, wrong, 1)) is None


def test_a_check_passes_on_its_own_answer_alone() -> None:
    chance = Random(1)
    for check in checks(60, 1):
        right = stories.tell(check.hero, chance).text if check.hero else check.answer
        assert check.passes(right)
        assert not check.passes(right + " And so on.")
        assert not check.passes("")
    assert not Check("Tell me a story about a fox", "fox").passes(stories.tell("bear", chance).text)


def test_conversations_are_the_same_for_a_seed_and_take_turns() -> None:
    first, second = (list(itertools.islice(conversations(5), 50)) for _ in range(2))
    assert first == second
    for talk in first:
        assert [turn["role"] for turn in talk] == ["user", "assistant"] * (len(talk) // 2)
