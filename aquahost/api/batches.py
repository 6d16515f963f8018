"""/v1/batches: files of requests that run as jobs."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import FastAPI, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.fields import ApiModel, at_most
from aquahost.api.front import Front
from aquahost.api.openapi import body_of, reply_of
from aquahost.api.replies import json_response
from aquahost.daemon.jobs.desk import JobDesk
from aquahost.messages.jobs import Batch, BatchCounts, BatchError, BatchState

_MOST_KEYS = 16
_WINDOWS_S = {"24h": 24 * 3600.0}


class BatchBody(ApiModel):
    """Body of POST /v1/batches."""

    input_file_id: Annotated[str, Field(min_length=1, max_length=100)]
    """A file of purpose "batch": a JSON object a line, with custom_id, method (POST), url (the endpoint) and body."""
    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/images/generations"]
    """What every line of it asks."""
    completion_window: Literal["24h"]
    """Requests that have not run by then are not run any more."""
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=_MOST_KEYS),
            at_most(_MOST_KEYS),
        ]
        | None
    ) = None
    """Up to 16 texts of the client's own."""


class BatchErrors(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with an input file."""

    object: str = "list"
    data: list[BatchError]


class BatchObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's batch."""

    id: str
    object: str = "batch"
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: BatchState
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: BatchCounts
    metadata: dict[str, str] | None


class BatchList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of batches."""

    object: str = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


def add_batch_routes(app: FastAPI, front: Front, desk: JobDesk) -> None:
    """Add the routes to `app`."""

    async def create_batch(request: Request) -> Response:
        """Run a file of requests. A line that is wrong fails the whole batch, with its number, before any is run."""
        holder, body = await front.read(request, BatchBody)
        batch = await desk.create_batch(
            holder.tenant,
            models=None if holder.models is None else sorted(holder.models),
            input_file_id=body.input_file_id,
            endpoint=body.endpoint,
            completion_window=body.completion_window,
            window_s=_WINDOWS_S[body.completion_window],
            metadata=body.metadata,
        )
        return json_response(batch_object(batch))

    async def list_batches(
        request: Request, after: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
    ) -> Response:
        """The batches of whoever asks, newest first."""
        found = await desk.batches(front.gate.tenant(request.scope), after=after, limit=limit + 1)
        data = [batch_object(batch) for batch in found[:limit]]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return json_response(BatchList(data=data, first_id=first, last_id=last, has_more=len(found) > limit))

    async def get_batch(request: Request, batch_id: str) -> Response:
        """One batch."""
        return json_response(batch_object(await desk.batch(front.gate.tenant(request.scope), batch_id)))

    async def cancel_batch(request: Request, batch_id: str) -> Response:
        """End the requests that have not ended; replies that are there are kept. 409 for a batch that has ended."""
        return json_response(batch_object(await desk.cancel_batch(front.gate.tenant(request.scope), batch_id)))

    for method, path, handler, reply in (
        ("POST", "/v1/batches", create_batch, BatchObject),
        ("GET", "/v1/batches", list_batches, BatchList),
        ("GET", "/v1/batches/{batch_id}", get_batch, BatchObject),
        ("POST", "/v1/batches/{batch_id}/cancel", cancel_batch, BatchObject),
    ):
        app.add_api_route(
            path,
            handler,
            methods=[method],
            tags=["OpenAI"],
            response_model=None,
            responses=reply_of(reply),
            openapi_extra=body_of(BatchBody) if handler is create_batch else None,
        )


def batch_object(batch: Batch) -> BatchObject:
    """A batch as OpenAI shows it."""
    times = batch.times
    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint,
        errors=BatchErrors(data=batch.errors) if batch.errors else None,
        input_file_id=batch.input_file_id,
        completion_window=batch.completion_window,
        status=batch.state,
        output_file_id=batch.output_file_id if batch.has_output else None,
        error_file_id=batch.error_file_id if batch.has_errors else None,
        created_at=batch.created_at,
        in_progress_at=times.get(BatchState.IN_PROGRESS),
        expires_at=int(batch.created_at + batch.window_s),
        finalizing_at=times.get(BatchState.FINALIZING),
        completed_at=times.get(BatchState.COMPLETED),
        failed_at=times.get(BatchState.FAILED),
        expired_at=times.get(BatchState.EXPIRED),
        cancelling_at=times.get(BatchState.CANCELLING),
        cancelled_at=times.get(BatchState.CANCELLED),
        request_counts=batch.counts,
        metadata=batch.metadata,
    )
