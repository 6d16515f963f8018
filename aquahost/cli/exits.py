"""The exit codes of every command, and which error ends in which."""

from __future__ import annotations

from enum import IntEnum

from aquahost.errors import (
    AquahostError,
    ConfigError,
    QueueFullError,
    RequestError,
    UnreachableError,
)


class ExitCode(IntEnum):
    """What a command's end says to the script that called it."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    QUEUE_FULL = 5
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "ok",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "wrong usage or a mistake in models.yaml",
    ExitCode.UNREACHABLE: "no daemon answers",
    ExitCode.NOT_FOUND: "no such model, prompt, job or key",
    ExitCode.QUEUE_FULL: "the queue is full",
    ExitCode.INTERRUPTED: "interrupted",
}


def exit_code_of(error: AquahostError) -> ExitCode:
    """The exit code that reports `error`."""
    match error:
        case ConfigError():
            return ExitCode.USAGE
        case UnreachableError():
            return ExitCode.UNREACHABLE
        case QueueFullError():
            return ExitCode.QUEUE_FULL
        case RequestError(status=404):
            return ExitCode.NOT_FOUND
        case _:
            return ExitCode.FAILED
