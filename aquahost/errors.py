"""Every error of ours, and for each what to do.

AquahostError
├── ConfigError             models.yaml is wrong: file, line, key, what is allowed        (CLI exit 2)
├── StartError              the daemon can't start: port taken, folder not writable, …    (CLI exit 1)
├── UnreachableError        no daemon answers on the socket                               (CLI exit 3)
├── RequestError            a request can't be served; carries its HTTP status
│   ├── InvalidRequestError     400, names the field
│   ├── UnknownModelError       404
│   ├── UnknownPromptError      404
│   ├── UnknownJobError         404, also for files and batches
│   ├── ModelStateError         409, says what the model would have to be
│   ├── QueueFullError          429 with Retry-After
│   ├── StorageError            503 with Retry-After (the disk is full, or fails)
│   └── ModelUnavailableError   503 with Retry-After (loading, unloaded, draining, failed, worker died)
└── EngineError             inside a worker
    └── LoadError               a model can't be loaded or served; its reason is shown to the user
"""

from __future__ import annotations


class AquahostError(Exception):
    """Anything aquahost reports on purpose; its text is one or more lines fit to show a person."""


class ConfigError(AquahostError):
    """models.yaml, a flag or an environment variable is wrong; the text says where and what is allowed."""


class StartError(AquahostError):
    """The daemon cannot start; the text says why and what to do, in one line."""


class UnreachableError(AquahostError):
    """No daemon answers; the text says how to start one."""


class RequestError(AquahostError):
    """A request that cannot be served, with all that an HTTP reply in OpenAI's shape needs."""

    status: int = 400
    type: str = "invalid_request_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        queue_length: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        """The request's field at fault, or None."""
        self.code = code
        """OpenAI's machine-readable code, such as "context_length_exceeded", or None."""
        self.retry_after_s = retry_after_s
        """Seconds after which the same request may succeed, or None."""
        self.queue_length = queue_length
        """Live prompts of the model in whose queue there was no room, or None."""
        if status is not None:
            self.status = status


class InvalidRequestError(RequestError):
    """The request itself is wrong (400)."""


class UnknownModelError(RequestError):
    """No model of that name is configured (404)."""

    status = 404


class UnknownPromptError(RequestError):
    """No live prompt has that id (404)."""

    status = 404


class UnknownJobError(RequestError):
    """No job, file or batch has that id, or it is another tenant's (404)."""

    status = 404


class StorageError(RequestError):
    """What was asked for cannot be kept on disk now (503)."""

    status = 503
    type = "service_unavailable_error"

    def __init__(self, message: str, *, retry_after_s: float | None = None, is_full: bool = False) -> None:
        super().__init__(message, code="storage_failed", retry_after_s=retry_after_s)
        self.is_full = is_full
        """Whether there is no room, which may change, and not some other fault."""


class ModelStateError(RequestError):
    """The model cannot do that in the state it is in (409)."""

    status = 409


class QueueFullError(RequestError):
    """The model's queue is full (429); `retry_after_s` is an estimate of when it has room."""

    status = 429
    type = "rate_limit_error"


class ModelUnavailableError(RequestError):
    """The model is not ready: loading, unloaded, draining, failed, or its worker died (503)."""

    status = 503
    type = "service_unavailable_error"


class EngineError(AquahostError):
    """A failure inside an engine."""


class LoadError(EngineError):
    """A model cannot be loaded or served; the text is the reason the user sees in `aquahost ps`."""
