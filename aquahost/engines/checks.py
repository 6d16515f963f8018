"""Values of image and audio requests, checked against what their model's entry allows."""

from __future__ import annotations

import math

from aquahost.config.settings import ModelSettings
from aquahost.errors import InvalidRequestError, LoadError

MAX_GUIDANCE = 1000.0


def check_entry(settings: ModelSettings) -> None:
    """Raise LoadError naming the key if one of the entry's own defaults exceeds its limit."""
    for key, value, limit_key, limit in (
        ("steps", settings.steps, "max_steps", settings.max_steps),
        ("size_px", settings.size_px, "max_size_px", settings.max_size_px),
    ):
        if value is not None and value > limit:
            raise LoadError(f"{key}: {value} is more than {limit_key} ({limit}); lower the one or raise the other")


def check_text(asked: str, *, param: str, max_bytes: int | None = None) -> str:
    """Text for a tokenizer. Raises InvalidRequestError for `param` if it is no text, or longer than allowed."""
    try:
        size_bytes = len(asked.encode())
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"{param} holds half a surrogate pair (character {error.start + 1}), which is no text", param=param
        ) from None
    if max_bytes is not None and size_bytes > max_bytes:
        raise InvalidRequestError(
            f"{param} has {size_bytes} bytes of UTF-8, of which the model takes at most {max_bytes}; shorten it",
            param=param,
            code="context_length_exceeded",
        )
    return asked


def check_steps(asked: int | None, settings: ModelSettings) -> int | None:
    """Denoising steps: as asked, else the entry's default, else None. Raises InvalidRequestError for "steps"."""
    if asked is None:
        return settings.steps
    if not 1 <= asked <= settings.max_steps:
        raise InvalidRequestError(f"steps must lie between 1 and {settings.max_steps}, not {asked}", param="steps")
    return asked


def check_guidance(asked: float | None, settings: ModelSettings) -> float | None:
    """Guidance scale: as asked, else the entry's default, else None. Raises InvalidRequestError for "guidance"."""
    if asked is None:
        return settings.guidance
    if not (math.isfinite(asked) and 0 <= asked <= MAX_GUIDANCE):
        raise InvalidRequestError(f"guidance must lie between 0 and {MAX_GUIDANCE:.0f}, not {asked}", param="guidance")
    return float(asked)


def check_length(asked: int, *, side: str, multiple: int, max_px: int) -> int:
    """One side of an image in pixels. Raises InvalidRequestError for "size"."""
    if not 1 <= asked <= max_px or asked % multiple:
        raise InvalidRequestError(
            f"size: the {side} must be a multiple of {multiple} between {multiple} and "
            f"{max_px // multiple * multiple} pixels, not {asked}",
            param="size",
        )
    return asked


def check_duration(asked_s: float | None, *, limit_s: float) -> float | None:
    """Length of a sound in seconds. Raises InvalidRequestError for "duration"."""
    if asked_s is not None and not (math.isfinite(asked_s) and 0 < asked_s <= limit_s):
        raise InvalidRequestError(
            f"duration must be more than 0 and at most {limit_s:g} seconds, not {asked_s:g}", param="duration"
        )
    return asked_s


def check_format(asked: str, allowed: tuple[str, ...], *, param: str) -> str:
    """A file format. Raises InvalidRequestError for `param`."""
    if asked not in allowed:
        raise InvalidRequestError(f"{param} must be one of {', '.join(allowed)}, not {asked!r}", param=param)
    return asked
