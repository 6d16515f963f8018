"""What a streamed token costs the daemon's process, HTTP part: run with `-m bench`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STREAMS, TOKENS, STEP_S = 64, 300, 0.01


async def read_stream(port: int) -> int:
    """Number of chunks with text in one streamed reply."""
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "stream": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    data = await reader.read(-1)
    writer.close()
    assert data.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    return data.count(b'"content":" word"')


@pytest.mark.bench
async def test_cost_of_a_streamed_token(
    record_property: pytest.RecordProperty, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = os.pathsep.join(str(ROOT / folder) for folder in (".", "cuda", "tests/support"))
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "tests/support/token_cost_server.py"),
        *(str(STREAMS), str(TOKENS), str(STEP_S)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert server.stdout is not None
    port = int(await server.stdout.readline())
    counts = await asyncio.gather(*(read_stream(port) for _ in range(STREAMS)))
    cost_us = float(await server.stdout.readline())
    assert await server.wait() == 0
    assert counts == [TOKENS] * STREAMS
    with capsys.disabled():
        sys.stdout.write(f"\n{cost_us:.1f} us of CPU per streamed token ({STREAMS} streams)\n")
