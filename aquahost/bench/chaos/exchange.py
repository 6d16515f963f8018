"""One request and its reply, told apart: answered, refused, cut off, or failed."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from aquahost.bench.chaos.asks import Ask

REFUSALS = (429, 503)
"""With Retry-After: come again."""
_STRANDED = b": the worker of "
"""How the comment begins that tells a stream of its worker's death; one of several replies is named before it."""


class RefusedError(Exception):
    """The daemon asks to come again in `retry_after_s`."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"come again in {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class CutOffError(Exception):
    """The connection broke, or could not be made."""


class FailedError(Exception):
    """Anything that must not be; the text says what."""


async def exchange(http: httpx.AsyncClient, url: str, ask: Ask, on_life: Callable[[bool], None]) -> str:
    """Send a request and read the reply to its end; returns what it says in a form to be compared.

    `on_life(stranded)` is told of each event of a stream, and (True) of the comment that tells of the worker's death.
    Raises RefusedError, CutOffError, or FailedError.
    """
    body = {**ask.body, "stream": True} if ask.streamed else ask.body
    try:
        async with http.stream("POST", url + ask.path, json=body) as reply:
            if reply.status_code != 200:
                raise _refusal(reply, await reply.aread())
            if not ask.streamed:
                return said_by(json.loads(await reply.aread()))
            said = _Said()
            async for line in _lines(reply.aiter_bytes()):
                if line.startswith(b"data:"):
                    on_life(False)
                    said.hear(line)
                elif line.startswith(b":") and _STRANDED in line:  # other comments only keep the connection alive
                    on_life(True)
            return said.to_compare()
    except httpx.TransportError as error:
        raise CutOffError(f"{type(error).__name__}: {error}") from error


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines that end in a line feed, and in nothing else: JSON may hold other line ends as they are."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


def _refusal(reply: httpx.Response, content: bytes) -> RefusedError | FailedError:
    retry_after = reply.headers.get("retry-after", "")
    if reply.status_code in REFUSALS and retry_after.isdigit():
        return RefusedError(float(retry_after))
    # Without a time to come again: the daemon ends, which only who ended it knows to be right.
    return FailedError(f"HTTP {reply.status_code}: {content[:200].decode(errors='replace')}")


class _Said:
    """What a stream has said so far."""

    def __init__(self) -> None:
        self._texts: defaultdict[int, str] = defaultdict(str)
        self._reasons: dict[int, str] = {}
        self._images: dict[int, str] = {}
        self._is_done = False

    def hear(self, line: bytes) -> None:
        """A line of the event stream that carries data. Raises FailedError for an error event."""
        if line == b"data: [DONE]":
            self._is_done = True
            return
        event = json.loads(line.removeprefix(b"data: "))
        if event.get("error"):
            raise FailedError(f"an error in the stream: {json.dumps(event['error'])[:200]}")
        for choice in event.get("choices", ()):
            index = choice["index"]
            self._texts[index] += choice.get("text") or choice.get("delta", {}).get("content") or ""
            if choice["finish_reason"]:
                self._reasons[index] = choice["finish_reason"]
        if event.get("type") == "image_generation.completed":
            self._images[event["index"]] = event["b64_json"]
            self._is_done = True

    def to_compare(self) -> str:
        """Raises FailedError for a stream that ended before its end mark."""
        if not self._is_done:
            raise FailedError("the stream ended before its end mark")
        return _form(dict(self._texts), self._reasons, self._images)


def said_by(reply: dict[str, Any]) -> str:
    """What a whole reply says, in a form to be compared."""
    choices = reply.get("choices", [])
    texts = {one["index"]: one.get("text") or one.get("message", {}).get("content") or "" for one in choices}
    reasons = {one["index"]: one["finish_reason"] for one in choices}
    return _form(texts, reasons, {index: one["b64_json"] for index, one in enumerate(reply.get("data", []))})


def _form(texts: dict[int, str], reasons: dict[int, str], images: dict[int, str]) -> str:
    digests = {index: hashlib.sha256(image.encode()).hexdigest() for index, image in images.items()}
    return json.dumps([texts, reasons, digests], sort_keys=True)
