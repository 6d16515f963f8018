"""POST /v1/chat/completions."""

from __future__ import annotations

import time

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.chat_replies import ChatCollector, ChatCompletion, ChatEncoder
from aquahost.api.front import Front
from aquahost.api.openapi import prompts_of, reply_of
from aquahost.api.prompt_headers import wants_comments
from aquahost.api.prompts import PromptGroup
from aquahost.api.replies import Ask, CollectedResponse, EventStreamResponse
from aquahost.api.schemas_text import ChatBody
from aquahost.messages.prompts import TextRequest


def add_chat_routes(app: FastAPI, front: Front) -> None:
    """Add the route to `app`."""

    async def create_chat_completion(request: Request) -> Response:
        """Continue a conversation, streamed or not."""
        tenant, body = await front.admit(request, ChatBody)
        ask = Ask(
            daemon=front.daemon,
            model=body.model,
            requests=chat_requests(body),
            tenant=tenant,
            allowance=front.rates.of(tenant),
            priority=body.priority or 0,
            comments=wants_comments(request),
        )
        n, created = body.n or 1, int(time.time())

        def collector(group: PromptGroup) -> ChatCollector:
            return ChatCollector(
                reply_id=f"chatcmpl-{group.id}", created=created, model=body.model, n=n, logprobs=bool(body.logprobs)
            )

        def encoder(group: PromptGroup) -> ChatEncoder:
            return ChatEncoder(
                reply_id=f"chatcmpl-{group.id}",
                created=created,
                model=body.model,
                n=n,
                include_usage=body.include_usage,
            )

        return EventStreamResponse(ask, encoder) if body.stream else CollectedResponse(ask, collector)

    app.add_api_route(
        "/v1/chat/completions",
        create_chat_completion,
        methods=["POST"],
        tags=["OpenAI"],
        response_model=None,
        responses=reply_of(ChatCompletion, stream=True),
        openapi_extra=prompts_of(ChatBody),
    )


def chat_requests(body: ChatBody) -> list[TextRequest]:
    """The `n` prompts of a request."""
    messages = [message.rendered() for message in body.messages]
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    max_tokens = body.max_completion_tokens or body.max_tokens
    return [
        TextRequest(messages=messages, sampling=body.sampling(index=index, max_tokens=max_tokens, logprobs=logprobs))
        for index in range(body.n or 1)
    ]
