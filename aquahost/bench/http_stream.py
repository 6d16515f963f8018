"""A streaming client that costs next to nothing, so that on a small machine the server is what is measured.

It speaks HTTP/1.0, in which a reply ends with the connection: no chunk framing to take apart. Any OpenAI-compatible
server will do.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aquahost.errors import RequestError

_MOST_ERROR_BYTES = 2000
"""How much of a server's complaint is kept."""


@dataclass(slots=True)
class StreamTimes:
    """When the parts of one streamed reply came, in seconds of `time.perf_counter`."""

    sent_s: float
    chunk_s: list[float] = field(default_factory=list)
    """Of each chunk with text. A chunk may carry several tokens, and tokens that end within a character none."""
    done_s: float = 0.0
    """When the stream's end mark came."""
    input_tokens: int = 0
    """From the server's own usage report."""
    output_tokens: int = 0
    """From the server's own usage report."""

    @property
    def ttft_s(self) -> float:
        """Time to the first chunk with text."""
        return self.chunk_s[0] - self.sent_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where prompts are posted."""

    host: str
    port: int
    path: str
    tls: bool = False

    def request(self, body: dict[str, Any], key: str = "") -> bytes:
        """A whole request for a streamed reply, to be made before time is measured."""
        content = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
        fields = [f"Host: {self.host}", "Content-Type: application/json", f"Content-Length: {len(content)}"]
        if key:
            fields.append(f"Authorization: Bearer {key}")
        return "\r\n".join([f"POST {self.path} HTTP/1.0", *fields, "", ""]).encode() + content

    async def exchange(self, request: bytes) -> StreamTimes:
        """Send `request` and read the reply to its end.

        Raises RequestError for any status but 200, for a failure that the stream tells of, and for a stream that ends
        before its end mark; OSError where the connection fails.
        """
        loop = asyncio.get_running_loop()
        reply = _Reply(loop.create_future())
        transport, _ = await loop.create_connection(lambda: reply, self.host, self.port, ssl=self.tls or None)
        try:
            transport.write(request)
            await reply.closed
        finally:
            transport.abort()
        return reply.outcome()


async def stream(host: str, port: int, path: str, body: dict[str, Any], start_s: float = 0.0) -> StreamTimes:
    """Post `body` after `start_s` seconds and read the reply to its end. Raises as `Server.exchange` does."""
    server = Server(host=host, port=port, path=path)
    request = server.request(body)
    await asyncio.sleep(start_s)
    return await server.exchange(request)


class _Reply(asyncio.Protocol):
    """Notes times as bytes come in. A protocol, not a stream reader, whose every line would cost a task switch."""

    def __init__(self, closed: asyncio.Future[None]) -> None:
        self.closed = closed
        self._times = StreamTimes(sent_s=time.perf_counter())
        self._rest = b""
        self._status = b""
        self._in_body = False
        self._said = b""
        """What a server answered that did not stream."""

    def data_received(self, data: bytes) -> None:
        """Note every whole line."""
        now_s = time.perf_counter()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._in_body:
                self._note(line, now_s)
            elif not self._status:
                self._status = line.strip()
            else:
                self._in_body = not line.strip()

    def connection_lost(self, error: Exception | None) -> None:
        """The reply ends."""
        if self.closed.done():
            return
        if error is not None:
            self.closed.set_exception(error)
        else:
            self.closed.set_result(None)

    def outcome(self) -> StreamTimes:
        """The times of a stream that went well. Raises RequestError for any other."""
        if b" 200" not in self._status:
            said = (self._said + self._rest)[:_MOST_ERROR_BYTES].decode(errors="replace")
            status = self._status.split()[1:2]
            code = int(status[0]) if status and status[0].isdigit() else None
            raise RequestError(f"the server answered {self._status.decode(errors='replace')}: {said}", status=code)
        if not self._times.done_s:
            said = self._said.decode(errors="replace")
            raise RequestError(f"the stream ended early: {said}" if said else "the stream ended early", status=200)
        return self._times

    def _note(self, line: bytes, now_s: float) -> None:
        if line.startswith((b"data: {", b"data:{")) and b'"error"' not in line[:20]:
            # Taking every chunk's JSON apart would cost as much as sending it; only the usage report is parsed.
            if b'"usage":{' in line or b'"usage": {' in line:
                self._note_usage(line[line.index(b"{") :])
            if _has_text(line):
                self._times.chunk_s.append(now_s)
        elif line.startswith((b"data: [DONE]", b"data:[DONE]")):
            self._times.done_s = now_s
        elif not line.startswith(b":") and len(self._said) < _MOST_ERROR_BYTES:
            self._said += line.strip()

    def _note_usage(self, chunk: bytes) -> None:
        # An error raised in a callback would be logged and lost, and the prompt never end: a broken report is none.
        with suppress(ValueError, KeyError, AttributeError):
            usage = json.loads(chunk)["usage"]
            self._times.input_tokens = usage.get("prompt_tokens", self._times.input_tokens)
            self._times.output_tokens = usage.get("completion_tokens", self._times.output_tokens)


def _has_text(line: bytes) -> bool:
    """Whether a chunk of either family carries text; a name and a quote within text would be escaped."""
    if b'"text":' in line:
        return b'"text":""' not in line and b'"text": ""' not in line
    if b'"content":' in line:
        return not any(b'"content":' + empty in line for empty in (b'""', b' ""', b"null", b" null"))
    return False
