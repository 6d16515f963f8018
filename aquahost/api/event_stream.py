"""Replies that are sent piece by piece, until they end or the client leaves."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aquahost.api.prompts import ClientGoneError, while_connected

EVENT_STREAM = "text/event-stream"


class StreamedResponse(Response):
    """Sends what a generator yields, until it ends or the client leaves. While the client does not read, the generator
    is not asked for more."""

    def __init__(self, chunks: AsyncGenerator[bytes], headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__()
        self._chunks, self._start_headers = chunks, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(self._send_all(send), receive)
        except ClientGoneError:
            return

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._start_headers})
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                if chunk:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def text_reply(media_type: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that answers with text of that type."""
    return {200: {"content": {media_type: {"schema": {"type": "string"}}}}}
