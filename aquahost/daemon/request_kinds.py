"""Which requests a model takes."""

from __future__ import annotations

from aquahost.config.settings import Kind
from aquahost.daemon.hosted_model import HostedModel
from aquahost.errors import InvalidRequestError
from aquahost.messages.prompts import AudioRequest, ImageRequest, Request, TextRequest

_TAKES: dict[Kind, type[TextRequest] | type[ImageRequest] | type[AudioRequest]] = {
    Kind.LLM: TextRequest,
    Kind.TOY: TextRequest,
    Kind.IMAGE: ImageRequest,
    Kind.AUDIO: AudioRequest,
}
_MAKES = {Kind.LLM: "text", Kind.TOY: "text", Kind.IMAGE: "images", Kind.AUDIO: "audio"}


def check_kind(model: HostedModel, request: Request) -> None:
    """Raise InvalidRequestError for a request that the model is not made for."""
    kind = model.settings.kind
    if not isinstance(request, _TAKES[kind]):
        text = f"the model {model.name!r} makes {_MAKES[kind]}; use the route for that"
        raise InvalidRequestError(text, param="model")
