"""The words that the chat model's stories and answers are made of."""

from __future__ import annotations

ANIMALS = (
    "fox", "bear", "mouse", "owl", "rabbit", "frog", "cat", "dog", "duck", "goat", "horse", "hedgehog", "squirrel",
    "wolf", "lion", "tiger", "elephant", "monkey", "turtle", "snail", "bee", "ant", "crow", "swan", "deer", "otter",
    "badger", "beaver", "penguin", "whale", "seal", "crab", "parrot", "sparrow", "goose", "sheep", "pig", "cow",
    "donkey", "camel", "snake", "spider", "dragon", "giraffe", "zebra", "hen", "kitten", "puppy", "bat", "mole",
)  # fmt: skip

OTHERS = (
    "king", "queen", "princess", "prince", "robot", "sailor", "baker", "farmer", "girl", "boy", "wizard", "giant",
    "painter", "teacher", "pirate", "gardener",
)  # fmt: skip

HEROES = ANIMALS + OTHERS

ADJECTIVES = (
    "small", "clever", "brave", "lazy", "hungry", "curious", "kind", "old", "young", "shy", "happy", "sleepy", "proud",
    "lonely", "cheerful", "quiet", "friendly", "gentle", "angry", "merry",
)  # fmt: skip

HOMES = (
    "in a deep forest", "on a green hill", "by the sea", "near a quiet river", "in an old tree", "under a bridge",
    "in a little house", "at the edge of a village", "on a snowy mountain", "in a big garden", "behind a windmill",
    "on a small island", "in a dark cave", "next to a blue lake",
)  # fmt: skip

THINGS = (
    "golden key", "red apple", "silver bell", "old map", "warm coat", "blue feather", "magic stone", "bright star",
    "little boat", "jar of honey", "white rose", "wooden flute", "lost ring", "secret door", "yellow kite",
    "green lantern", "round pearl", "orange pumpkin",
)  # fmt: skip

BARRIERS = ("high wall", "wide river", "thick fog", "deep valley", "locked gate", "steep cliff", "dark tunnel")

WEATHERS = ("rain", "snow", "thunder", "hail")

FEELINGS = ("afraid", "cold", "tired", "sad", "wet and hungry", "lost")

TIMES = ("morning", "evening", "day", "winter night", "summer day")

SPOTS = (
    "under a stone", "behind a waterfall", "in an empty nest", "at the bottom of a well", "on top of a tower",
    "between two oak trees", "in the sand", "inside a hollow log", "beside the road",
)  # fmt: skip

DEEDS = (
    "walked all night", "built a small raft", "climbed over the rocks", "followed the stars", "crossed the old bridge",
    "dug a long tunnel", "sang a song and went on",
)  # fmt: skip


def with_article(words: str) -> str:
    """ "a fox", "an old map"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
