"""POST /v1/audio/speech."""

from __future__ import annotations

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.front import Front
from aquahost.api.image_replies import base64_of
from aquahost.api.openapi import prompts_of
from aquahost.api.prompt_headers import wants_comments
from aquahost.api.prompts import PromptGroup
from aquahost.api.replies import Ask, CollectedResponse, EventStreamResponse, sse_event
from aquahost.api.schemas_media import SpeechBody
from aquahost.messages.prompts import Artifact, AudioRequest, Output, Progress


class SpeechProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A step is done."""

    type: str = "speech.audio.progress"
    step: int
    steps: int


class SpeechDelta(msgspec.Struct, frozen=True, kw_only=True):
    """The sound in base 64."""

    type: str = "speech.audio.delta"
    audio: str


class SpeechDone(msgspec.Struct, frozen=True):
    """No more events follow."""

    type: str = "speech.audio.done"


class SpeechCollector:
    """Gathers the bare file."""

    def __init__(self) -> None:
        self._artifact: Artifact | None = None

    def add(self, index: int, outputs: list[Output]) -> None:
        """Outputs of the prompt."""
        for output in outputs:
            if isinstance(output, Artifact):
                self._artifact = output

    def response(self) -> Response:
        """The sound."""
        if self._artifact is None:
            raise RuntimeError("the prompt ended well, but made no sound")
        return Response(self._artifact.data, media_type=self._artifact.media_type)


class SpeechEncoder:
    """Writes a stream's events."""

    def start(self) -> bytes:
        """Nothing."""
        return b""

    def encode(self, index: int, outputs: list[Output]) -> bytes:
        """An event for each step, and one with the sound."""
        events = []
        for output in outputs:
            if isinstance(output, Progress):
                progress = SpeechProgress(step=output.step, steps=output.steps)
                events.append(sse_event(progress.type, progress))
            elif isinstance(output, Artifact):
                delta = SpeechDelta(audio=base64_of(output))
                events.append(sse_event(delta.type, delta))
        return b"".join(events)

    def end(self) -> bytes:
        """The end mark of OpenAI's audio streams."""
        done = SpeechDone()
        return sse_event(done.type, done)


def add_audio_routes(app: FastAPI, front: Front) -> None:
    """Add the route to `app`."""

    async def create_speech(request: Request) -> Response:
        """Make a sound: speech, or music where the model makes music."""
        tenant, body = await front.admit(request, SpeechBody)
        ask = Ask(
            daemon=front.daemon,
            model=body.model,
            requests=[audio_request(body)],
            tenant=tenant,
            allowance=front.rates.of(tenant),
            priority=body.priority or 0,
            comments=wants_comments(request),
        )

        def collector(_: PromptGroup) -> SpeechCollector:
            return SpeechCollector()

        def encoder(_: PromptGroup) -> SpeechEncoder:
            return SpeechEncoder()

        return EventStreamResponse(ask, encoder) if body.stream_format == "sse" else CollectedResponse(ask, collector)

    app.add_api_route(
        "/v1/audio/speech",
        create_speech,
        methods=["POST"],
        tags=["OpenAI"],
        response_class=Response,
        response_model=None,
        responses={
            200: {
                "description": "The sound.",
                "content": {"audio/wav": {}, "text/event-stream": {"schema": {"type": "string"}}},
            }
        },
        openapi_extra=prompts_of(SpeechBody),
    )


def audio_request(body: SpeechBody) -> AudioRequest:
    """The prompt of a request."""
    return AudioRequest(
        text=body.input,
        negative_text=body.negative_prompt,
        duration_s=body.duration,
        steps=body.steps,
        guidance=body.guidance,
        seed=body.seed,
        format=body.response_format or "wav",
    )
