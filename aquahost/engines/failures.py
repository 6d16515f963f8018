"""What a client is told about a prompt that failed alone."""

from __future__ import annotations

import torch

from aquahost.errors import RequestError
from aquahost.messages.prompts import ErrorDetail


def describe_failure(error: Exception) -> ErrorDetail:
    """The reply to a prompt that raised `error`."""
    if isinstance(error, RequestError):
        return ErrorDetail(
            message=error.message,
            status=error.status,
            type=error.type,
            param=error.param,
            code=error.code,
            retry_after_s=error.retry_after_s,
        )
    if is_out_of_memory(error):
        return out_of_memory(
            "The GPU ran out of memory for this prompt. Ask for a smaller size, a shorter duration, "
            "or try again when fewer prompts run."
        )
    return ErrorDetail(message=f"The model failed on this prompt: {type(error).__name__}: {error}")


def out_of_memory(message: str) -> ErrorDetail:
    """There is not the memory for a prompt now; another time there may be."""
    return ErrorDetail(message=message, status=503, type="service_unavailable_error", code="out_of_memory")


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch ran out of memory."""
    # On a CPU it raises a plain RuntimeError; its text is the only sign.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
