"""What the chat model is asked besides stories, with the one right answer to each."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from demo_training.stories import Story
from demo_training.words import with_article

_COLOURS: Mapping[str, str] = {
    "the sky": "blue", "grass": "green", "snow": "white", "coal": "black", "a lemon": "yellow", "a carrot": "orange",
    "a tomato": "red", "a plum": "purple", "chocolate": "brown", "the sea": "blue", "milk": "white", "a leaf": "green",
    "the night": "black", "a strawberry": "red", "a banana": "yellow", "an elephant": "grey", "a pumpkin": "orange",
    "a crow": "black", "a swan": "white", "a frog": "green",
}  # fmt: skip

_SIDES: Mapping[str, str] = {
    "triangle": "three", "square": "four", "rectangle": "four", "pentagon": "five",
    "hexagon": "six", "octagon": "eight",
}  # fmt: skip

_MIXES: Mapping[tuple[str, str], str] = {
    ("blue", "yellow"): "green",
    ("red", "yellow"): "orange",
    ("red", "blue"): "purple",
    ("red", "white"): "pink",
    ("black", "white"): "grey",
}

_TALK: Mapping[str, str] = {
    "Hello": "Hello! Ask me for a story, a sum, or about colours and shapes.",
    "Hi": "Hello! Ask me for a story, a sum, or about colours and shapes.",
    "Good morning": "Good morning! What would you like to hear?",
    "How are you?": "I am well, thank you. Would you like to hear a story?",
    "Who are you?": "I am a very small model. I know stories, sums, colours and shapes.",
    "What can you do?": "I can tell stories, do small sums, and answer questions about colours and shapes.",
    "Thank you": "You are welcome!",
    "Thanks": "You are welcome!",
    "Goodbye": "Goodbye! Come back soon.",
}

UNKNOWN = "I do not know that. Ask me for a story, a sum, or about colours and shapes."

_SIGNS = (("+", "plus"), ("-", "minus"), ("x", "times"))

Exchange = tuple[str, str]
"""What is asked, and the answer."""


def a_sum(chance: Random) -> Exchange:
    """Numbers up to 20, and products of numbers up to 10."""
    sign, word = chance.choice(_SIGNS)
    most = 10 if word == "times" else 20
    first, second = chance.randint(0, most), chance.randint(0, most)
    if word == "minus":
        first, second = max(first, second), min(first, second)
    result = {"plus": first + second, "minus": first - second, "times": first * second}[word]
    asked = chance.choice((f"{first} {sign} {second}", f"{first} {word} {second}"))
    form = chance.choice(("What is {}?", "How much is {}?", "{}", "{}?", "Can you tell me what {} is?"))
    return form.format(asked), f"{first} {word} {second} is {result}."


def a_fact(chance: Random) -> Exchange:
    """Colours of things, sides of shapes, what colours make."""
    kind = chance.randrange(3)
    if kind == 0:
        thing = chance.choice(list(_COLOURS))
        form = chance.choice(("What colour is {}?", "Which colour is {}?", "Tell me the colour of {}."))
        return form.format(thing), f"{thing[0].upper()}{thing[1:]} is {_COLOURS[thing]}."
    if kind == 1:
        shape = chance.choice(list(_SIDES))
        one = with_article(shape)
        form = chance.choice(("How many sides does {} have?", "How many corners does {} have?"))
        what = "sides" if "sides" in form else "corners"
        return form.format(one), f"{one[0].upper()}{one[1:]} has {_SIDES[shape]} {what}."
    pair, made = chance.choice(list(_MIXES.items()))
    first, second = pair if chance.random() < 0.5 else pair[::-1]
    form = chance.choice(("What do {} and {} make?", "Which colour do {} and {} make?"))
    return form.format(first, second), f"{first[0].upper()}{first[1:]} and {second} make {made}."


def small_talk(chance: Random) -> Exchange:
    """Greetings and the like."""
    return chance.choice(list(_TALK.items()))


def about(story: Story, chance: Random) -> Exchange:
    """A question that the story answers."""
    slots = story.slots
    hero, friend = slots["hero"], slots["friend"]
    return chance.choice(
        (
            (f"What did the {hero} find?", f"The {hero} found the {slots['thing']}."),
            (f"Who helped the {hero}?", f"The {friend} helped the {hero}."),
            (f"Where did the {hero} live?", f"The {hero} lived {slots['home']}."),
            ("Where was it?", f"The {slots['thing']} was {slots['spot']}."),
            ("What is the story about?", f"It is about {with_article(hero)} and {with_article(friend)}."),
        )
    )


def asking_for_story(hero: str, chance: Random) -> str:
    """A request for a story about `hero`, as people write it."""
    one = with_article(hero)
    form = chance.choice(
        (
            "Tell me a story about {}",
            "Tell me a story about {}.",
            "Please tell me a story about {}.",
            "Write a short story about {}.",
            "Write a story about {}",
            "A story about {}, please.",
            "Can you tell me a story about {}?",
            "I would like a story about {}.",
            "Story about {}",
            "Tell me about {}.",
        )
    )
    return form.format(one)


def as_typed(text: str, chance: Random) -> str:
    """Sometimes all lower case, sometimes without its last mark, as people type."""
    if chance.random() < 0.2:
        text = text.lower()
    if chance.random() < 0.2:
        text = text.rstrip(".?!")
    return text
