"""How prompts end, and why a model takes none, in the words of events and errors."""

from __future__ import annotations

from aquahost.daemon.hosted_model import HostedModel
from aquahost.errors import ModelUnavailableError, RequestError
from aquahost.events import EventKind
from aquahost.messages.prompts import ErrorDetail, Finished, FinishReason
from aquahost.messages.snapshot import ModelState
from aquahost.units import format_seconds

RETRY_S = 5.0
NOT_TO_BE_REPEATED = 400
"""Clients repeat what fails with a status of 500 and above by themselves; these must not be."""


def event_of(finished: Finished) -> tuple[EventKind, str]:
    """The event that tells of a prompt's end, and what happened to it."""
    match finished.reason:
        case FinishReason.CANCELLED:
            return EventKind.PROMPT_CANCELLED, "was cancelled"
        case FinishReason.ERROR:
            code = finished.error.code or finished.error.type if finished.error else "error"
            return EventKind.PROMPT_FAILED, f"failed ({code})"
    return EventKind.PROMPT_FINISHED, "finished"


def guilty(prompt_id: str, model: str) -> Finished:
    """The end of a prompt that its worker died over twice."""
    message = f"the worker of {model} died twice over this prompt; see `aquahost logs {model}`"
    error = ErrorDetail(message=message, status=NOT_TO_BE_REPEATED, code="worker_died_twice")
    return Finished(prompt_id=prompt_id, reason=FinishReason.ERROR, error=error)


def gone(message: str, code: str) -> ErrorDetail:
    """Why prompts end whose model does not run any more."""
    retry_after_s = RETRY_S if code in ("worker_died", "shutting_down") else None
    return ErrorDetail(
        message=message, status=503, type="service_unavailable_error", code=code, retry_after_s=retry_after_s
    )


def overdue(prompt_id: str, timeout_s: float) -> Finished:
    """The end of a prompt that took too long."""
    message = f"the prompt did not end within {format_seconds(timeout_s)} (host.prompt_timeout_s)"
    error = ErrorDetail(message=message, status=NOT_TO_BE_REPEATED, code="prompt_timeout")
    return Finished(prompt_id=prompt_id, reason=FinishReason.ERROR, error=error)


def not_sent(prompt_id: str) -> Finished:
    """The end of a prompt that could not be handed to a worker."""
    error = ErrorDetail(message="the prompt could not be passed on: an internal fault", code="internal_error")
    return Finished(prompt_id=prompt_id, reason=FinishReason.ERROR, error=error)


def unavailable(model: HostedModel) -> RequestError:
    """Why a model takes no prompts now, and when to try again."""
    name, died = model.name, model.supervision.worker_died
    match model.state:
        case ModelState.FAILED:
            # Why a load was refused helps whoever asks; how a worker died may quote its log, with another's prompt.
            reason = f"its worker died; see `aquahost logs {name}`" if died else model.supervision.reason
            return ModelUnavailableError(f"the model {name!r} failed: {reason}", code="model_failed")
        case ModelState.DRAINING:
            return ModelUnavailableError(
                f"the model {name!r} is being unloaded", code="model_draining", retry_after_s=RETRY_S
            )
        case ModelState.READY:
            return ModelUnavailableError(
                f"the worker of {name!r} died; the prompts that it had go first; try again soon",
                code="model_loading",
                retry_after_s=RETRY_S,
            )
    again = " again, since its worker died" if died else ""
    return ModelUnavailableError(
        f"the model {name!r} is being loaded{again}; try again soon", code="model_loading", retry_after_s=RETRY_S
    )
