"""What may be asked as a job: the bodies of the API's own routes, and how each is answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from aquahost.api.audio import SpeechCollector, audio_request
from aquahost.api.body import parse_model
from aquahost.api.chat import chat_requests
from aquahost.api.chat_replies import ChatCollector
from aquahost.api.completion_replies import CompletionCollector
from aquahost.api.completions import completion_requests
from aquahost.api.contract import Daemon
from aquahost.api.image_replies import ImageCollector
from aquahost.api.images import image_requests
from aquahost.api.rate_limits import RateLimits
from aquahost.api.replies import Ask, Collector, collected
from aquahost.api.schemas_media import ImageBody, SpeechBody
from aquahost.api.schemas_text import ChatBody, CompletionBody
from aquahost.config.settings import Kind, Settings
from aquahost.daemon.jobs.accounts import JOB_PRIORITY, account_of
from aquahost.daemon.jobs.job_table import Job
from aquahost.daemon.jobs.store import Reply
from aquahost.daemon.unknown_model import unknown_model
from aquahost.errors import InvalidRequestError, ModelUnavailableError
from aquahost.messages.prompts import Request

_TEXT = (Kind.LLM, Kind.TOY)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Endpoint:
    body: type[BaseModel]
    kinds: tuple[Kind, ...]
    """Which models answer it."""
    requests: Callable[[Any], Sequence[Request]]
    collector: Callable[[Any, str], Collector]
    """Of a body, and the id of its first prompt."""


def _chat_collector(body: ChatBody, prompt_id: str) -> Collector:
    return ChatCollector(
        reply_id=f"chatcmpl-{prompt_id}",
        created=int(time.time()),
        model=body.model,
        n=body.n or 1,
        logprobs=bool(body.logprobs),
    )


def _completion_collector(body: CompletionBody, prompt_id: str) -> Collector:
    return CompletionCollector(
        reply_id=f"cmpl-{prompt_id}",
        created=int(time.time()),
        model=body.model,
        prompts=len(body.prompts()),
        n=body.n or 1,
        logprobs=body.logprobs is not None,
    )


def _image_collector(body: ImageBody, prompt_id: str) -> Collector:
    return ImageCollector(
        created=int(time.time()), output_format=body.output_format or "png", n=body.n or 1, publish=None
    )


def _speech_requests(body: SpeechBody) -> Sequence[Request]:
    return [audio_request(body)]


def _speech_collector(body: SpeechBody, prompt_id: str) -> Collector:
    return SpeechCollector()


ENDPOINTS: Mapping[str, _Endpoint] = {
    "/v1/chat/completions": _Endpoint(body=ChatBody, kinds=_TEXT, requests=chat_requests, collector=_chat_collector),
    "/v1/completions": _Endpoint(
        body=CompletionBody, kinds=_TEXT, requests=completion_requests, collector=_completion_collector
    ),
    "/v1/images/generations": _Endpoint(
        body=ImageBody, kinds=(Kind.IMAGE,), requests=image_requests, collector=_image_collector
    ),
    "/v1/audio/speech": _Endpoint(
        body=SpeechBody, kinds=(Kind.AUDIO,), requests=_speech_requests, collector=_speech_collector
    ),
}
"""By route."""
BATCH_ENDPOINTS = tuple(route for route in ENDPOINTS if route != "/v1/audio/speech")
"""Those whose replies are JSON, as the lines of a batch's output are."""


def check_job(endpoint: str, body: bytes, settings: Settings, models: Collection[str] | None = None) -> str:
    """The model that a job's body asks, one of `models` if they are given. Raises InvalidRequestError for a body that
    `endpoint` would not take, or that cannot be a job's, and UnknownModelError."""
    asked = parse_model(body, ENDPOINTS[endpoint].body)
    model: str = getattr(asked, "model")  # noqa: B009  # each of them has one
    for field, value in (("stream", True), ("stream_format", "sse")):
        if getattr(asked, field, None) == value:
            raise InvalidRequestError(f"'{field}': a job's reply is not streamed", param=field, code="invalid_value")
    if getattr(asked, "response_format", None) == "url":
        raise InvalidRequestError(
            "'response_format': a URL would not last; a job's images are in its result", param="response_format"
        )
    known = [name for name in settings.models if models is None or name in models]
    if model not in known:
        raise unknown_model(model, known)
    entry = settings.models[model]
    if entry.kind not in ENDPOINTS[endpoint].kinds:
        raise InvalidRequestError(
            f"the model '{model}' is of kind {entry.kind}; {endpoint} is not for it", param="model"
        )
    return model


class JobAnswers:
    """Has the daemon answer jobs, as the API would have answered their clients."""

    def __init__(self, daemon: Daemon, rates: RateLimits | None = None) -> None:
        """`rates`: what tenants may use in a minute, of which their jobs take their tokens, too."""
        self._daemon, self._rates = daemon, rates

    async def __call__(self, job: Job, taken: Callable[[], None]) -> Reply:
        """The reply; `taken` is called once its prompts are in the model's queue. Raises RequestError; when cancelled,
        its prompts are dropped."""
        endpoint = ENDPOINTS[job.endpoint]
        body: Any = parse_model(job.body, endpoint.body)
        if job.model not in self._daemon.settings.models:
            gone = f"the model {job.model!r} is not hosted any more"  # others' names are not for every tenant
            # It waits: who takes a model from models.yaml, or starts the daemon with another one, may put it back.
            raise ModelUnavailableError(gone, code="model_not_hosted")
        ask = Ask(
            daemon=self._daemon,
            model=job.model,
            requests=endpoint.requests(body),
            tenant=account_of(job.tenant),
            allowance=None if self._rates is None else self._rates.of(job.tenant),
            priority=JOB_PRIORITY if body.priority is None else max(JOB_PRIORITY, body.priority),
        )
        with ask.submit(streamed=False) as group:
            taken()
            response = await collected(group, endpoint.collector(body, group.id))
        return Reply(response.media_type or "application/octet-stream", bytes(response.body))
