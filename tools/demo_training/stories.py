"""The grammar of the chat model's stories: it makes them, and tells whether a text is one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from demo_training import words

_SLOTS: Mapping[str, Sequence[str]] = {
    "hero": words.HEROES,
    "friend": words.HEROES,
    "mood": words.ADJECTIVES,
    "nature": words.ADJECTIVES,
    "home": words.HOMES,
    "thing": words.THINGS,
    "barrier": words.BARRIERS,
    "weather": words.WEATHERS,
    "feeling": words.FEELINGS,
    "time": words.TIMES,
    "spot": words.SPOTS,
    "deed": words.DEEDS,
}

_PARTS: Sequence[Sequence[str]] = (
    (
        "Once upon a time there was [a mood] {hero} who lived {home}.",
        "Long ago, [a mood] {hero} lived {home}.",
        "There once was [a mood] {hero} who lived {home}.",
    ),
    (
        "Every day the {hero} dreamed of [a thing].",
        "One {time}, the {hero} set out to look for [a thing].",
        "The {hero} wanted to find [a thing].",
    ),
    (
        "But soon [a barrier] was in the way.",
        "On the way it began to {weather}, and the {hero} was {feeling}.",
        "The way was long, and the {hero} was {feeling}.",
    ),
    (
        "There the {hero} met [a nature] {friend}.",
        'Then [a nature] {friend} came by and said: "I will help you."',
        'After a while [a nature] {friend} asked the {hero}: "May I come with you?"',
    ),
    (
        "Together they {deed}.",
        "So the {hero} and the {friend} {deed}.",
        "The {friend} knew what to do, and together they {deed}.",
    ),
    (
        "At last they found the {thing} {spot}.",
        "And there, {spot}, was the {thing}!",
        "The {hero} could not believe it: the {thing} was {spot}!",
    ),
    (
        "From that day on the {hero} and the {friend} were friends.",
        "The {hero} thanked the {friend}, and they went home together.",
        "The {hero} was happy, and shared everything with the {friend}.",
    ),
)
"""One sentence of each is taken in turn. `[a slot]` stands for the slot's words with their article."""

_PIECE = re.compile(r"\[a (\w+)\]|\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Story:
    """A text and what its slots hold."""

    text: str
    slots: Mapping[str, str]


def tell(hero: str, chance: Random) -> Story:
    """A story about `hero`."""
    slots = {name: chance.choice(choices) for name, choices in _SLOTS.items()}
    slots["hero"] = hero
    while slots["friend"] == hero:
        slots["friend"] = chance.choice(_SLOTS["friend"])
    return Story(" ".join(_fill(chance.choice(part), slots) for part in _PARTS), slots)


def read(text: str) -> Story | None:
    """The story that `text` is, or None if the grammar cannot have made it: every sentence must be one of its own, in
    order, with known words, right articles, and the same hero, friend and thing throughout."""
    slots: dict[str, str] = {}
    rest = text.strip()
    for part in _PARTS:
        for sentence in part:
            found = _pattern(sentence).match(rest)
            if found and all(slots.get(name, value) == value for name, value in found.groupdict().items()):
                slots |= found.groupdict()
                rest = rest[found.end() :].lstrip(" ")
                break
        else:
            return None
    return None if rest or slots.get("friend") == slots["hero"] else Story(text, slots)


def _fill(sentence: str, slots: Mapping[str, str]) -> str:
    def word(piece: re.Match[str]) -> str:
        return words.with_article(slots[piece[1]]) if piece[1] else slots[piece[2]]

    return _PIECE.sub(word, sentence)


def _pattern(sentence: str) -> re.Pattern[str]:
    """What the sentence looks like with any words; a slot that it has twice must hold the same twice."""
    pattern, at, seen = "", 0, set()
    for piece in _PIECE.finditer(sentence):
        pattern += re.escape(sentence[at : piece.start()])
        name, at = piece[1] or piece[2], piece.end()
        if name in seen:
            pattern += f"(?P={name})"
            continue
        seen.add(name)
        choices = sorted(_SLOTS[name], key=len, reverse=True)
        if piece[1]:
            vowels = "|".join(re.escape(one) for one in choices if one[0] in "aeiou") or "(?!)"
            others = "|".join(re.escape(one) for one in choices if one[0] not in "aeiou") or "(?!)"
            pattern += f"(?:an (?=(?:{vowels})\\b)|a (?=(?:{others})\\b))"
        pattern += f"(?P<{name}>{'|'.join(re.escape(one) for one in choices)})"
    return re.compile(pattern + re.escape(sentence[at:]))
