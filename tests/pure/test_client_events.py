"""Server-sent events as the client takes them apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from aquahost.client import Client, Media, StepDone, TextEnd, TextPiece
from aquahost.errors import RequestError
from aquahost.events import Event, EventKind
from aquahost.streamed import sse_data

BREAKS = ("\u0085", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\r")
"""Characters at which str.splitlines breaks a line, and a server-sent event does not."""


class Chunks(httpx.SyncByteStream):
    """A body that arrives in these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.taken += 1
            yield piece


def client_of(*pieces: bytes) -> tuple[Client, Chunks]:
    body = Chunks(*pieces)
    headers = {"content-type": "text/event-stream"}
    return Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=body, headers=headers))), body


def event_of(value: object) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def piece_of(text: str) -> bytes:
    return event_of({"choices": [{"delta": {"content": text}, "finish_reason": None}]})


def chat(client: Client) -> list[TextPiece | TextEnd]:
    return list(client.chat("m", [{"role": "user", "content": "x"}]))


@pytest.mark.parametrize("character", BREAKS, ids=ascii)
def test_only_a_line_feed_ends_a_line(character: str) -> None:
    text = f"a{character}b"
    client, _ = client_of(piece_of(text), b"data: [DONE]\n\n")
    assert chat(client)[0] == TextPiece(text)
    event = {"seq": 1, "at": "t", "kind": "model.ready", "message": text}
    client, _ = client_of(event_of(event))
    assert list(client.events()) == [Event(seq=1, at="t", kind=EventKind.MODEL_READY, message=text)]


def test_events_may_be_cut_anywhere() -> None:
    body = b": comment\nid: 1\n" + piece_of("\u2028\u00fc") + b"data: [DONE]\n\n"
    for size in (1, 2, 3, 7, len(body)):
        client, _ = client_of(*(body[at : at + size] for at in range(0, len(body), size)))
        assert chat(client)[0] == TextPiece("\u2028\u00fc")


def test_an_event_of_several_lines_is_one() -> None:
    assert list(sse_data(iter([b"data: a\nda", b"ta:b\n\n\ndata:c\n\ndata: cut"]))) == [b"a\nb", b"c"]


def test_an_event_is_given_as_soon_as_it_is_there() -> None:
    client, body = client_of(piece_of("a"), piece_of("b"), b"data: [DONE]\n\n")
    reply = client.chat("m", [])
    assert (next(reply), body.taken) == (TextPiece("a"), 1)
    assert (next(reply), body.taken) == (TextPiece("b"), 2)


ASKS: dict[str, Callable[[Client], Iterator[object]]] = {
    "chat": lambda client: client.chat("m", []),
    "complete": lambda client: client.complete("m", ""),
    "image": lambda client: client.image("m", ""),
    "audio": lambda client: client.audio("m", ""),
    "events": lambda client: client.events(),
}


@pytest.mark.parametrize(
    ("data", "asks"),
    [
        *((data, tuple(ASKS)) for data in (b"{", b"5", b"[]", b"\xff", b'"x"')),
        (b'{"choices": 1}', ("chat", "complete")),
        (b'{"choices": [{"delta": 5}]}', ("chat", "complete")),
        (b'{"usage": {"prompt_tokens": "x"}}', ("chat", "complete")),
        (b'{"type": "image_generation.progress", "step": "x"}', ("image",)),
        (b'{"type": "image_generation.completed", "b64_json": "?"}', ("image",)),
        (b'{"type": "speech.audio.delta", "audio": 7}', ("audio",)),
        (b'{"seq": 1, "at": "t", "kind": "new.kind", "message": "m"}', ("events",)),
    ],
)
def test_what_cannot_be_understood_is_an_error_of_ours(data: bytes, asks: tuple[str, ...]) -> None:
    for ask in asks:
        client, _ = client_of(b"data: " + data + b"\n\n")
        with pytest.raises(RequestError, match="of another version; restart it"):
            list(ASKS[ask](client))


def test_media_events() -> None:
    progress = event_of({"type": "image_generation.progress", "step": 1, "steps": 2})
    client, _ = client_of(
        progress, event_of({"type": "new.kind"}), event_of({"type": "image_generation.completed", "b64_json": "YQ=="})
    )
    assert list(client.image("m", "")) == [StepDone(step=1, steps=2), Media(b"a")]


@pytest.mark.parametrize(
    ("error", "message"),
    [({"message": "worker died", "type": "server_error"}, "worker died"), ({}, "500"), ("bad", "500"), (5, "500")],
)
def test_an_error_within_a_stream_is_raised(error: object, message: str) -> None:
    client, _ = client_of(piece_of("a"), event_of({"error": error}))
    reply = client.chat("m", [])
    assert next(reply) == TextPiece("a")
    with pytest.raises(RequestError, match=message):
        next(reply)
