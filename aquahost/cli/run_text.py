"""Streaming a text reply."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import IO, Any

from aquahost.cli.ask import Ask
from aquahost.cli.files import open_new
from aquahost.cli.output import say
from aquahost.client import Client, TextEnd, TextPiece


def run_text(client: Client, ask: Ask, now_s: Callable[[], float]) -> None:
    """Write the reply as it comes, to stdout or to the file asked for."""
    reply = _reply(client, ask)
    began_s = now_s()
    first_s: float | None = None
    first = next(reply)  # an error comes here, before a file that exists is emptied
    with _target(ask) as target:
        last = ""
        for part in chain((first,), reply):
            if isinstance(part, TextPiece):
                first_s = now_s() if first_s is None else first_s
                target.write(_harmless(part.text) if target.isatty() else part.text)
                target.flush()
                last = part.text
            elif ask.options.get("--stats"):
                _say_stats(part, began_s, first_s, now_s())
        if target is sys.stdout and not last.endswith("\n"):
            target.write("\n")


def _reply(client: Client, ask: Ask) -> Iterator[TextPiece | TextEnd]:
    if ask.options.get("--raw"):
        return client.complete(ask.model, ask.prompt, **ask.fields())
    return client.chat(ask.model, ask.messages(), **ask.fields())


@contextmanager
def _target(ask: Ask) -> Iterator[IO[Any]]:
    if ask.output is None:
        yield sys.stdout
    else:
        with open_new(ask.output, "w") as file:
            yield file


def _harmless(text: str) -> str:
    """Text of a model for a terminal: it must not move the cursor, nor do worse."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _say_stats(end: TextEnd, began_s: float, first_s: float | None, ended_s: float) -> None:
    first = "" if first_s is None else f"first after {first_s - began_s:.2f} s, "
    rate = ""
    if first_s is not None and end.output_tokens > 1 and ended_s > first_s:
        rate = f"then {(end.output_tokens - 1) / (ended_s - first_s):.1f} tokens/s"
    say(f"\n{end.input_tokens} tokens in, {end.output_tokens} out ({end.finish_reason}); {first}{rate}".rstrip(", "))
