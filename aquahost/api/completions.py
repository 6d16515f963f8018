"""POST /v1/completions."""

from __future__ import annotations

import time

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.completion_replies import Completion, CompletionCollector, CompletionEncoder
from aquahost.api.front import Front
from aquahost.api.openapi import prompts_of, reply_of
from aquahost.api.prompt_headers import wants_comments
from aquahost.api.prompts import PromptGroup
from aquahost.api.replies import Ask, CollectedResponse, EventStreamResponse
from aquahost.api.schemas_text import CompletionBody
from aquahost.messages.prompts import TextRequest

DEFAULT_MAX_TOKENS = 16
"""As in OpenAI's API."""


def add_completion_routes(app: FastAPI, front: Front) -> None:
    """Add the route to `app`."""

    async def create_completion(request: Request) -> Response:
        """Continue texts, streamed or not."""
        tenant, body = await front.admit(request, CompletionBody)
        ask = Ask(
            daemon=front.daemon,
            model=body.model,
            requests=completion_requests(body),
            tenant=tenant,
            allowance=front.rates.of(tenant),
            count_param="n" if body.n and body.n > 1 else "prompt",
            priority=body.priority or 0,
            comments=wants_comments(request),
        )
        prompts, n, created = len(body.prompts()), body.n or 1, int(time.time())

        def collector(group: PromptGroup) -> CompletionCollector:
            return CompletionCollector(
                reply_id=f"cmpl-{group.id}",
                created=created,
                model=body.model,
                prompts=prompts,
                n=n,
                logprobs=body.logprobs is not None,
            )

        def encoder(group: PromptGroup) -> CompletionEncoder:
            return CompletionEncoder(
                reply_id=f"cmpl-{group.id}",
                created=created,
                model=body.model,
                prompts=prompts,
                n=n,
                include_usage=body.include_usage,
            )

        return EventStreamResponse(ask, encoder) if body.stream else CollectedResponse(ask, collector)

    app.add_api_route(
        "/v1/completions",
        create_completion,
        methods=["POST"],
        tags=["OpenAI"],
        response_model=None,
        responses=reply_of(Completion, stream=True),
        openapi_extra=prompts_of(CompletionBody),
    )


def completion_requests(body: CompletionBody) -> list[TextRequest]:
    """The prompts of a request: `n` for each text, in the order of their choices."""
    requests: list[TextRequest] = []
    for prompt in body.prompts():
        for _ in range(body.n or 1):
            sampling = body.sampling(
                index=len(requests), max_tokens=body.max_tokens or DEFAULT_MAX_TOKENS, logprobs=body.logprobs
            )
            text, token_ids = (prompt, None) if isinstance(prompt, str) else (None, prompt)
            requests.append(TextRequest(text=text, token_ids=token_ids, echo=bool(body.echo), sampling=sampling))
    return requests
