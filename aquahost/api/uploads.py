"""A file in a form: from bytes of unknown origin to a temporary file, never larger than allowed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from aquahost.api.errors import BodyTooLargeError, ForbiddenError
from aquahost.api.prompts import ClientGoneError
from aquahost.errors import InvalidRequestError, StorageError
from aquahost.units import KIB, format_bytes

_MOST_FIELDS = 8
_FORM_BYTES = 64 * KIB
"""For all of a form beside the file."""
_MOST_NAME = 255


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a client sends."""

    name: str
    """As the client calls it, without folders; for people only."""
    content: BinaryIO
    nbytes: int
    fields: dict[str, str]
    """The form's other fields."""


@asynccontextmanager
async def upload(request: Request, max_bytes: int) -> AsyncIterator[Upload]:
    """The file in the field "file" of the request's form, which lives as long as the context.

    Raises InvalidRequestError, BodyTooLargeError, ForbiddenError for a web page's form, StorageError, and
    ClientGoneError if the client leaves half-way.
    """
    _refuse_foreign_forms(request)
    form = await _form(request, max_bytes)
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile) or file.size is None:
            raise InvalidRequestError("'file' is missing", param="file", code="missing_required_parameter")
        if file.size > max_bytes:
            raise _too_large(max_bytes)
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        yield Upload(_plain_name(file.filename or ""), file.file, file.size, fields)
    finally:
        await form.close()


async def _form(request: Request, max_bytes: int) -> FormData:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidRequestError(
            "send the file with 'Content-Type: multipart/form-data'", code="unsupported_content_type"
        )
    parser = MultiPartParser(
        request.headers,
        _counted(request, max_bytes),
        max_files=1,
        max_fields=_MOST_FIELDS,
        max_part_size=_FORM_BYTES,
    )
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise InvalidRequestError(f"the form cannot be read: {error.message}") from None
    except (ValueError, LookupError):  # of bytes that are no text in the charset that was named
        raise InvalidRequestError("the form cannot be read") from None
    except OSError as error:
        raise StorageError(f"the file cannot be kept: {error.strerror}") from error


async def _counted(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes; Content-Length may lie or be missing."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes + _FORM_BYTES:
        raise _too_large(max_bytes)
    nbytes = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body: bytes = message.get("body", b"")
        nbytes += len(body)
        if nbytes > max_bytes + _FORM_BYTES:
            raise _too_large(max_bytes)
        yield body
        more = message.get("more_body", False)


def _refuse_foreign_forms(request: Request) -> None:
    """A web page may send a form to any address without asking first, and its browser says from where it comes; a key
    it cannot add."""
    origin = request.headers.get("origin")
    if origin is None or "authorization" in request.headers:
        return
    try:
        comes_from = urlsplit(origin).netloc
    except ValueError:
        comes_from = ""
    if comes_from != request.headers.get("host"):
        raise ForbiddenError("web pages from elsewhere may not send files")


def _plain_name(name: str) -> str:
    base = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join(character for character in base if character.isprintable())
    return shown.encode("utf-8", "replace").decode()[:_MOST_NAME] or "upload"


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the file is larger than jobs.max_upload_bytes ({format_bytes(max_bytes)})")
