"""Replies of POST /v1/images/generations: OpenAI's objects, and how outputs become them."""

from __future__ import annotations

import base64
from collections.abc import Callable

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from aquahost.api.replies import json_response, sse_event
from aquahost.messages.prompts import Artifact, Output, Progress

Publish = Callable[[Artifact], str]
"""Keeps an image and returns its URL."""


class ImageData(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image: its bytes in base 64, or where to get it."""

    b64_json: str | None = None
    url: str | None = None


class ImagesReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply that is not streamed."""

    created: int
    data: list[ImageData]
    output_format: str


class ImageProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A step of image number `index` is done."""

    type: str = "image_generation.progress"
    index: int
    step: int
    steps: int


class ImageCompleted(msgspec.Struct, frozen=True, kw_only=True):
    """Image number `index` is done."""

    type: str = "image_generation.completed"
    index: int
    created_at: int
    output_format: str
    b64_json: str | UnsetType = UNSET
    url: str | UnsetType = UNSET


class ImageCollector:
    """Gathers a reply that is not streamed."""

    def __init__(self, *, created: int, output_format: str, n: int, publish: Publish | None) -> None:
        self._created, self._format, self._publish = created, output_format, publish
        self._images = [ImageData()] * n

    def add(self, index: int, outputs: list[Output]) -> None:
        """Outputs of image number `index`."""
        for output in outputs:
            if isinstance(output, Artifact):
                self._images[index] = (
                    ImageData(url=self._publish(output)) if self._publish else ImageData(b64_json=base64_of(output))
                )

    def response(self) -> Response:
        """All images."""
        return json_response(ImagesReply(created=self._created, data=self._images, output_format=self._format))


class ImageEncoder:
    """Writes a stream's events; `publish` is None where images are sent in the events themselves."""

    def __init__(self, *, created: int, output_format: str, publish: Publish | None) -> None:
        self._created, self._format, self._publish = created, output_format, publish

    def start(self) -> bytes:
        """Nothing."""
        return b""

    def encode(self, index: int, outputs: list[Output]) -> bytes:
        """An event for each step, and one with the image."""
        events = []
        for output in outputs:
            if isinstance(output, Progress):
                progress = ImageProgress(index=index, step=output.step, steps=output.steps)
                events.append(sse_event(progress.type, progress))
            elif isinstance(output, Artifact):
                completed = ImageCompleted(
                    index=index,
                    created_at=self._created,
                    output_format=self._format,
                    b64_json=UNSET if self._publish else base64_of(output),
                    url=self._publish(output) if self._publish else UNSET,
                )
                events.append(sse_event(completed.type, completed))
        return b"".join(events)

    def end(self) -> bytes:
        """Nothing: OpenAI's image streams just end."""
        return b""


def base64_of(artifact: Artifact) -> str:
    """The artifact's bytes in base 64."""
    return base64.b64encode(artifact.data).decode("ascii")
