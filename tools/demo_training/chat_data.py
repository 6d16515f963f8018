"""Conversations for the chat model, as its training and its checks see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from demo_training import questions, stories, words

Turn = dict[str, str]
"""role and content, as chat templates take them."""

_NONSENSE = (
    "What is the capital of France?", "Explain gravity to a child.", "Write a poem about the sea.",
    "How do I boil an egg?",
    "Who won the game yesterday?", "Translate good morning into German.", "What is the meaning of life?",
    "Write a Python program.", "What time is it?", "Why is the sky high?", "Where is my phone?", "Sing a song.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to ask, and how to tell whether a reply to it is right."""

    asked: str
    hero: str | None
    """For a story; else `answer` counts."""
    answer: str = ""

    def passes(self, reply: str) -> bool:
        """Whether the reply, which ended by itself, is a story of the grammar about the hero, or the answer."""
        if self.hero is None:
            return reply.strip() == self.answer
        story = stories.read(reply)
        return story is not None and story.slots["hero"] == self.hero


def conversation(chance: Random) -> list[Turn]:
    """One or more exchanges; stories may be asked about afterwards."""
    turns: list[Turn] = []
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3))):
        turns += _exchange(chance)
    return turns


def conversations(seed: int) -> Iterator[list[Turn]]:
    """Without end; the same for a seed."""
    chance = Random(seed)
    while True:
        yield conversation(chance)


def checks(count: int, seed: int) -> list[Check]:
    """Things to ask, two in three of them stories."""
    chance = Random(seed)
    made: list[Check] = []
    for at in range(count):
        if at % 3 < 2:
            hero = chance.choice(words.HEROES)
            made.append(Check(questions.asking_for_story(hero, chance), hero))
        else:
            asked, answer = questions.a_sum(chance) if at % 2 else questions.a_fact(chance)
            made.append(Check(asked, None, answer))
    return made


def _exchange(chance: Random) -> list[Turn]:
    kind = chance.random()
    if kind < 0.5:
        hero = chance.choice(words.HEROES)
        story = stories.tell(hero, chance)
        turns = _turns(questions.asking_for_story(hero, chance), story.text, chance)
        for _ in range(chance.choice((0, 0, 1, 2))):
            turns += _turns(*questions.about(story, chance), chance)
        return turns
    if kind < 0.75:
        return _turns(*questions.a_sum(chance), chance)
    if kind < 0.9:
        return _turns(*questions.a_fact(chance), chance)
    if kind < 0.96:
        return _turns(*questions.small_talk(chance), chance)
    return _turns(chance.choice(_NONSENSE), questions.UNKNOWN, chance)


def _turns(asked: str, answer: str, chance: Random) -> list[Turn]:
    return [
        {"role": "user", "content": questions.as_typed(asked, chance)},
        {"role": "assistant", "content": answer},
    ]
