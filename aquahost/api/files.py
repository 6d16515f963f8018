"""/v1/files: what batches read and write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any, BinaryIO, Literal

import msgspec
from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.event_stream import StreamedResponse
from aquahost.api.front import Front
from aquahost.api.openapi import reply_of
from aquahost.api.replies import json_response
from aquahost.api.uploads import upload
from aquahost.daemon.jobs.desk import JobDesk
from aquahost.errors import InvalidRequestError, UnknownJobError
from aquahost.messages.jobs import StoredFile

_PIECE_BYTES = 256 * 1024


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's file."""

    id: str
    object: str = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str = "processed"


class FileList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of files."""

    object: str = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A file is gone."""

    id: str
    object: str = "file"
    deleted: bool = True


_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": ["batch"]},
                    },
                }
            }
        },
    }
}


def add_file_routes(app: FastAPI, front: Front, desk: JobDesk) -> None:
    """Add the routes to `app`."""
    _add_changing(app, front, desk)
    _add_reading(app, front, desk)


def _add_changing(app: FastAPI, front: Front, desk: JobDesk) -> None:
    async def create_file(request: Request) -> Response:
        """Keep a file of requests for a batch."""
        tenant = front.gate.tenant(request.scope)
        front.rates.of(tenant).spend_request()
        async with upload(request, desk.settings.max_upload_bytes) as file:
            _check_fields(file.fields)
            kept = await desk.add_file(tenant, file.name, file.fields["purpose"], file.content, file.nbytes)
        return json_response(_shown(kept, desk.settings.keep_s))

    async def delete_file(request: Request, file_id: str) -> Response:
        """Remove a file. 409 for one that a batch is about to read."""
        await desk.remove_file(front.gate.tenant(request.scope), file_id)
        return json_response(FileDeleted(id=file_id))

    _add(app, "POST", "/v1/files", create_file, reply_of(FileObject), _FORM)
    _add(app, "DELETE", "/v1/files/{file_id}", delete_file, reply_of(FileDeleted))


def _add_reading(app: FastAPI, front: Front, desk: JobDesk) -> None:
    keep_s = desk.settings.keep_s

    async def list_files(
        request: Request,
        purpose: str | None = None,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
        order: Literal["asc", "desc"] = "desc",
    ) -> Response:
        """The files of whoever asks."""
        tenant = front.gate.tenant(request.scope)
        found = await desk.files(tenant, purpose=purpose, after=after, limit=limit + 1, newest_first=order == "desc")
        data = [_shown(file, keep_s) for file in found[:limit]]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return json_response(FileList(data=data, first_id=first, last_id=last, has_more=len(found) > limit))

    async def get_file(request: Request, file_id: str) -> Response:
        """One file, without its content."""
        return json_response(_shown(await desk.file(front.gate.tenant(request.scope), file_id), keep_s))

    async def get_content(request: Request, file_id: str) -> Response:
        """A file's content."""
        file = await desk.file(front.gate.tenant(request.scope), file_id)
        try:
            content = await asyncio.to_thread(desk.content(file).open, "rb")
        except FileNotFoundError:
            raise UnknownJobError(f"file {file.id} has just been removed", code="file_not_found") from None
        return StreamedResponse(_pieces(content), _content_headers(file))

    content: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}
    _add(app, "GET", "/v1/files", list_files, reply_of(FileList))
    _add(app, "GET", "/v1/files/{file_id}", get_file, reply_of(FileObject))
    _add(app, "GET", "/v1/files/{file_id}/content", get_content, content)


def _add(
    app: FastAPI,
    method: str,
    path: str,
    handler: Callable[..., Any],
    responses: dict[int | str, dict[str, Any]],
    extra: dict[str, Any] | None = None,
) -> None:
    app.add_api_route(
        path,
        handler,
        methods=[method],
        tags=["OpenAI"],
        response_class=Response,
        response_model=None,
        responses=responses,
        openapi_extra=extra,
    )


def _check_fields(fields: dict[str, str]) -> None:
    if "purpose" not in fields:
        raise InvalidRequestError("'purpose' is missing", param="purpose", code="missing_required_parameter")
    if fields["purpose"] != "batch":
        raise InvalidRequestError("'purpose': only files for 'batch' are taken", param="purpose", code="invalid_value")
    unknown = next((name for name in fields if name != "purpose"), None)
    if unknown is not None:
        name = unknown[:100]
        raise InvalidRequestError(f"'{name}' is not a field of this form", param=name, code="unknown_parameter")


def _shown(file: StoredFile, keep_s: float) -> FileObject:
    return FileObject(
        id=file.id,
        bytes=file.nbytes,
        created_at=file.created_at,
        expires_at=int(file.created_at + keep_s),
        filename=file.name,
        purpose=file.purpose,
    )


def _content_headers(file: StoredFile) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", str(file.nbytes).encode("ascii")),
        (b"content-disposition", b"attachment"),
        (b"x-content-type-options", b"nosniff"),
    ]


async def _pieces(content: BinaryIO) -> AsyncGenerator[bytes]:
    with content:
        while piece := await asyncio.to_thread(content.read, _PIECE_BYTES):
            yield piece
