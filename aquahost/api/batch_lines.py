"""The lines of a batch's files: requests in, replies and errors out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from aquahost.api.errors import error_body, failed_prompt
from aquahost.api.job_requests import check_job
from aquahost.config.settings import Settings
from aquahost.daemon.jobs.batch_work import MOST_ERRORS, ReadBatch
from aquahost.daemon.jobs.job_table import EndedInBatch, NewJob
from aquahost.errors import RequestError, UnknownModelError
from aquahost.messages.jobs import Batch, BatchError, BatchState
from aquahost.units import format_bytes

MOST_CUSTOM_ID = 512
"""Characters of a request's name within its batch."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _LineError(Exception):
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


class BatchInput:
    """Reads the input files of batches."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        """`settings`: those that hold now."""
        self._now = settings

    def __call__(self, batch: Batch, path: Path) -> ReadBatch:
        """The requests of a batch, or what is wrong with its lines, the first `MOST_ERRORS` of that."""
        jobs: list[NewJob] = []
        errors: list[BatchError] = []
        seen: set[str] = set()
        most = self._now().jobs.max_batch_lines
        for number, line in self._lines(path):
            if len(jobs) >= most:
                message = f"there are more requests than jobs.max_batch_lines allows ({most})"
                errors.append(BatchError(code="too_many_requests", message=message, line=number))
                break
            try:
                jobs.append(self._job(batch, line, seen))
            except _LineError as error:
                errors.append(BatchError(code=error.code, message=str(error), param=error.param, line=number))
            if len(errors) >= MOST_ERRORS:
                break
        if not jobs and not errors:
            errors.append(BatchError(code="empty_file", message="the input file holds no request"))
        return ReadBatch([] if errors else jobs, errors)

    def _lines(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """Lines that hold something, by number; of one that is too long its beginning, and nothing after it."""
        most = self._now().host.max_body_bytes
        with path.open("rb") as file:
            number = 0
            while line := file.readline(most + 1):
                number += 1
                if line.strip():
                    yield number, line
                if len(line) > most:
                    return

    def _job(self, batch: Batch, line: bytes, seen: set[str]) -> NewJob:
        most = self._now().host.max_body_bytes
        if len(line) > most:
            raise _LineError("line_too_long", f"the line is longer than host.max_body_bytes ({format_bytes(most)})")
        asked = _parsed(line)
        if not 1 <= len(asked.custom_id) <= MOST_CUSTOM_ID:
            raise _LineError("invalid_custom_id", f"custom_id must have 1 to {MOST_CUSTOM_ID} characters", "custom_id")
        if asked.custom_id in seen:
            raise _LineError("duplicate_custom_id", "an earlier line has the same custom_id", "custom_id")
        seen.add(asked.custom_id)
        if asked.method != "POST":
            raise _LineError("invalid_method", "method must be POST", "method")
        if asked.url != batch.endpoint:
            raise _LineError("mismatched_url", f"url must be the batch's endpoint, {batch.endpoint}", "url")
        body = bytes(asked.body)
        try:
            model = check_job(batch.endpoint, body, self._now(), batch.models)
        except RequestError as error:
            code = error.code or ("model_not_found" if isinstance(error, UnknownModelError) else "invalid_request")
            raise _LineError(code, error.message, f"body.{error.param}" if error.param else "body") from None
        return NewJob(
            tenant=batch.tenant,
            model=model,
            endpoint=batch.endpoint,
            body=body,
            batch_id=batch.id,
            custom_id=asked.custom_id,
        )


def _parsed(line: bytes) -> _Line:
    try:
        return msgspec.json.decode(line, type=_Line)
    except (UnicodeDecodeError, RecursionError):
        raise _LineError("invalid_json_line", "the line is not valid JSON in UTF-8") from None
    except msgspec.ValidationError as error:
        raise _LineError("invalid_line", f"the line is no request: {error}") from None
    except msgspec.DecodeError as error:
        raise _LineError("invalid_json_line", f"the line is not valid JSON: {error}") from None


def written_line(batch: Batch, ended: EndedInBatch, reply: bytes | None) -> bytes:
    """The line that tells how a request of a batch has ended."""
    response: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    if reply is not None:
        response = {"status_code": 200, "request_id": ended.id, "body": msgspec.Raw(reply)}
    elif ended.error is not None:
        failure = failed_prompt(ended.error)
        response = {
            "status_code": failure.status,
            "request_id": ended.id,
            "body": msgspec.Raw(error_body(failure)),
        }
    elif batch.ends_as is BatchState.EXPIRED:
        error = {"code": "batch_expired", "message": "the batch's time was over before this request was answered"}
    elif batch.ends_as is BatchState.CANCELLED:
        error = {"code": "batch_cancelled", "message": "the batch was cancelled before this request was answered"}
    else:
        error = {"code": "request_cancelled", "message": "this request was cancelled"}
    line = {
        "id": f"batch_req_{ended.id.removeprefix('job_')}",
        "custom_id": ended.custom_id,
        "response": response,
        "error": error,
    }
    return msgspec.json.encode(line) + b"\n"
