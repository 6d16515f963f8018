"""A streaming client that costs next to nothing, so that on a small machine the server is what is measured.

It speaks HTTP/1.0, in which a reply ends with the connection: no chunk framing to take apart. Any OpenAI-compatible
server will do.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from aquahost.errors import RequestError

_LIMIT_BYTES = 1 << 20


@dataclass(slots=True)
class StreamTimes:
    """When the parts of one streamed reply came, in seconds of `time.perf_counter`."""

    sent_s: float
    chunk_s: list[float] = field(default_factory=list)
    output_tokens: int = 0
    """From the server's own usage report."""

    @property
    def ttft_s(self) -> float:
        """Time to the first chunk with text."""
        return self.chunk_s[0] - self.sent_s


async def stream(host: str, port: int, path: str, body: dict[str, Any], start_s: float = 0.0) -> StreamTimes:
    """Post `body` after `start_s` seconds and read the reply to its end. Raises RequestError for any status but 200."""
    await asyncio.sleep(start_s)
    content = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    fields = f"Host: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    head = f"POST {path} HTTP/1.0\r\n{fields}\r\n"
    times = StreamTimes(sent_s=time.perf_counter())
    reader, writer = await asyncio.open_connection(host, port, limit=_LIMIT_BYTES)
    try:
        writer.write(head.encode() + content)
        status = await reader.readline()
        if b" 200 " not in status:
            rest = await reader.read(_LIMIT_BYTES)
            raise RequestError(f"the server answered {status.decode().strip()}: {rest.decode(errors='replace')}")
        async for line in reader:
            _note(times, line)
    finally:
        writer.close()
    return times


def _note(times: StreamTimes, line: bytes) -> None:
    if not line.startswith(b"data: {"):
        return
    # Taking every chunk's JSON apart would cost as much as sending it; only the usage report is parsed.
    if b'"usage":{' in line or b'"usage": {' in line:
        usage = json.loads(line[6:]).get("usage") or {}
        times.output_tokens = usage.get("completion_tokens", times.output_tokens)
    elif (b'"content":' in line and b'"content":""' not in line) or b'"text":' in line:
        times.chunk_s.append(time.perf_counter())
