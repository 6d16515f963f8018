"""What is asked of a maltreated daemon: prompts whose replies are the same every time."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aquahost.bench.tiny_llama import VOCABULARY

_OF_EACH_MODEL = 12
_MEDIA_ROUTE = "/v1/images/generations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request that can be sent again and again."""

    model: str
    path: str
    body: Mapping[str, Any]
    streamed: bool


def make_asks(models: Mapping[str, str], seed: int) -> list[Ask]:
    """A dozen requests for each model (its kind by its name), in a random order of that seed: greedy and seeded ones,
    streamed and not, one reply or two."""
    generator = random.Random(seed)
    asks = [_ask(name, kind, generator) for name, kind in models.items() for _ in range(_OF_EACH_MODEL)]
    generator.shuffle(asks)
    return asks


def _ask(model: str, kind: str, generator: random.Random) -> Ask:
    if kind == "image":
        return _image(model, generator)
    streamed = generator.random() < 0.7
    body: dict[str, Any] = {"model": model, "max_tokens": generator.randrange(20, 120)}
    if kind == "llm":
        body |= {"prompt": [generator.randrange(2, VOCABULARY) for _ in range(generator.randrange(4, 64))]}
        body |= {"ignore_eos": True}
        if generator.random() < 0.5:
            body |= {"temperature": 0}
        else:
            rules = {"temperature": 0.9, "top_p": 0.95, "frequency_penalty": 0.3}
            body |= {**rules, "seed": generator.randrange(2**31), "n": generator.choice((1, 1, 2))}
        return Ask(model=model, path="/v1/completions", body=body, streamed=streamed)
    said = " ".join(generator.choices(("tide", "moon", "reef", "salt", "gull", "kelp"), k=6))
    body |= {"messages": [{"role": "user", "content": said}]}
    return Ask(model=model, path="/v1/chat/completions", body=body, streamed=streamed)


def _image(model: str, generator: random.Random) -> Ask:
    said = generator.choice(("a red house", "the open sea", "a green door"))
    body = {"model": model, "prompt": said, "seed": generator.randrange(2**31), "steps": generator.randrange(4, 16)}
    return Ask(model=model, path=_MEDIA_ROUTE, body=body, streamed=generator.random() < 0.5)
