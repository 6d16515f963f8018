"""Routes under /control/jobs and /control/batches, for the CLI: on the Unix socket, or over TCP with the admin key."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.batches import BatchObject, batch_object
from aquahost.api.body import read_model
from aquahost.api.fields import ApiModel
from aquahost.api.front import Front
from aquahost.api.job_requests import check_job
from aquahost.api.openapi import body_of, reply_of
from aquahost.api.replies import json_response
from aquahost.config.names import DEFAULT_TENANT
from aquahost.daemon.jobs.desk import JobDesk
from aquahost.daemon.jobs.job_table import NewJob
from aquahost.messages.jobs import JobList, JobState, JobView


class JobBody(ApiModel):
    """A request to be answered some time."""

    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/images/generations", "/v1/audio/speech"]
    """The route that would answer it at once."""
    body: dict[str, Any]
    """What that route takes."""


def add_job_routes(app: FastAPI, front: Front, desk: JobDesk) -> None:
    """Add the routes to `app`."""

    async def submit(request: Request) -> Response:
        """Queue a job. It is on disk when this is answered, and will have one result, whatever happens."""
        front.gate.require_control(request.scope)
        asked = await read_model(request, JobBody, front.max_body_bytes)
        body = msgspec.json.encode(asked.body)
        model = check_job(asked.endpoint, body, front.daemon.settings)
        job = NewJob(tenant=DEFAULT_TENANT, model=model, endpoint=asked.endpoint, body=body)
        return json_response((await desk.submit([job]))[0], 201)

    async def jobs(
        request: Request,
        state: Annotated[list[JobState] | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    ) -> Response:
        """The newest jobs of all tenants, oldest first."""
        front.gate.require_control(request.scope)
        return json_response(JobList(await desk.jobs(state or list(JobState), limit)))

    async def job(request: Request, job_id: str) -> Response:
        """One job."""
        front.gate.require_control(request.scope)
        return json_response(await desk.job(job_id))

    async def result(request: Request, job_id: str) -> Response:
        """What a completed job's route has answered: JSON, or a sound. 409 for a job that is not completed."""
        front.gate.require_control(request.scope)
        view, data = await desk.result(job_id)
        return Response(data, media_type=view.media_type, headers={"x-content-type-options": "nosniff"})

    async def cancel(request: Request, job_id: str) -> Response:
        """End a job. 409 for one that has ended."""
        front.gate.require_control(request.scope)
        return json_response(await desk.cancel(job_id))

    listed, one = reply_of(JobList), reply_of(JobView)
    created: dict[int | str, dict[str, Any]] = {201: one[200]}
    any_result: dict[int | str, dict[str, Any]] = {200: {"description": "The result."}}
    for method, path, handler, responses in (
        ("POST", "/control/jobs", submit, created),
        ("GET", "/control/jobs", jobs, listed),
        ("GET", "/control/jobs/{job_id}", job, one),
        ("GET", "/control/jobs/{job_id}/result", result, any_result),
        ("POST", "/control/jobs/{job_id}/cancel", cancel, one),
    ):
        app.add_api_route(
            path,
            handler,
            methods=[method],
            tags=["Control"],
            status_code=201 if handler is submit else 200,
            response_class=Response,
            response_model=None,
            responses=responses,
            openapi_extra=body_of(JobBody) if handler is submit else None,
        )
    _add_cancelling_of_batches(app, front, desk)


def _add_cancelling_of_batches(app: FastAPI, front: Front, desk: JobDesk) -> None:
    async def cancel_batch(request: Request, batch_id: str) -> Response:
        """End a batch of whatever tenant. 409 for one that has ended."""
        front.gate.require_control(request.scope)
        return json_response(batch_object(await desk.cancel_any_batch(batch_id)))

    app.add_api_route(
        "/control/batches/{batch_id}/cancel",
        cancel_batch,
        methods=["POST"],
        tags=["Control"],
        response_class=Response,
        response_model=None,
        responses=reply_of(BatchObject),
    )
