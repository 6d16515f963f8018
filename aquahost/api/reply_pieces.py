"""Replies in pieces, for connections that do not tell how much of a large one is not sent."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PIECE_BYTES = 16 * 1024


class ReplyPieces:
    """Wraps an app so that it writes no more than a piece at a time, and waits where the connection asks it to.

    With TLS the buffers below count for nothing: of a reply that is written at once nobody would notice that its client
    does not read it, nor could one that reads slowly be told from one that reads nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does."""

        async def send_pieces(message: Message) -> None:
            body = message.get("body", b"")
            last = max(0, len(body) - 1) // PIECE_BYTES * PIECE_BYTES
            for at in range(0, last, PIECE_BYTES):
                await send({"type": message["type"], "body": body[at : at + PIECE_BYTES], "more_body": True})
            await send({**message, "body": body[last:]} if last else message)

        await self._app(scope, receive, send_pieces)
