"""POST /v1/images/generations, and GET /images/{name} for those who asked for a URL."""

from __future__ import annotations

import re
import time

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from aquahost.api.fields import seed_of
from aquahost.api.front import Front
from aquahost.api.image_replies import ImageCollector, ImageEncoder, ImagesReply
from aquahost.api.media_store import MediaStore
from aquahost.api.openapi import prompts_of, reply_of
from aquahost.api.prompt_headers import wants_comments
from aquahost.api.prompts import PromptGroup
from aquahost.api.replies import Ask, CollectedResponse, EventStreamResponse
from aquahost.api.schemas_media import ImageBody
from aquahost.errors import RequestError
from aquahost.messages.prompts import Artifact, ImageRequest

_HOST = re.compile(rb"[A-Za-z0-9._\-\[\]:]{1,255}")


def add_image_routes(app: FastAPI, front: Front, store: MediaStore) -> None:
    """Add both routes to `app`."""

    async def create_images(request: Request) -> Response:
        """Make images, with an event for every step if streamed."""
        tenant, body = await front.admit(request, ImageBody)
        ask = Ask(
            daemon=front.daemon,
            model=body.model,
            requests=image_requests(body),
            tenant=tenant,
            allowance=front.rates.of(tenant),
            priority=body.priority or 0,
            comments=wants_comments(request),
        )
        created, output_format = int(time.time()), body.output_format or "png"

        def publish(image: Artifact) -> str:
            return f"{_base_url(request.scope)}/images/{store.put(image.data, image.media_type)}"

        keep = publish if body.response_format == "url" else None

        def collector(_: PromptGroup) -> ImageCollector:
            return ImageCollector(created=created, output_format=output_format, n=body.n or 1, publish=keep)

        def encoder(_: PromptGroup) -> ImageEncoder:
            return ImageEncoder(created=created, output_format=output_format, publish=keep)

        return EventStreamResponse(ask, encoder) if body.stream else CollectedResponse(ask, collector)

    async def get_image(name: str) -> Response:
        """An image made before; its name is known only to whom it was told."""
        media = store.get(name)
        if media is None:
            raise RequestError("no such image, or its time is over; ask for b64_json to keep one", status=404)
        headers = {"x-content-type-options": "nosniff", "cache-control": "private, max-age=3600, immutable"}
        return Response(media.data, headers=headers, media_type=media.media_type)

    app.add_api_route(
        "/v1/images/generations",
        create_images,
        methods=["POST"],
        tags=["OpenAI"],
        response_model=None,
        responses=reply_of(ImagesReply, stream=True),
        openapi_extra=prompts_of(ImageBody),
    )
    app.add_api_route("/images/{name}", get_image, methods=["GET"], tags=["Files"], response_class=Response)


def image_requests(body: ImageBody) -> list[ImageRequest]:
    """The `n` prompts of a request."""
    width_px, height_px = body.size_px()
    return [
        ImageRequest(
            text=body.prompt,
            negative_text=body.negative_prompt,
            width_px=width_px,
            height_px=height_px,
            steps=body.steps,
            guidance=body.guidance,
            seed=seed_of(body.seed, index),
            format=body.output_format or "png",
        )
        for index in range(body.n or 1)
    ]


def _base_url(scope: Scope) -> str:
    """Where this client reaches us: as it wrote it in Host, if that makes a URL."""
    for name, value in scope["headers"]:
        if name == b"host" and _HOST.fullmatch(value):
            return f"{scope['scheme']}://{value.decode('ascii')}"
    host, port = scope.get("server") or ("localhost", None)
    return f"{scope['scheme']}://{host}:{port}" if port else f"{scope['scheme']}://localhost"
