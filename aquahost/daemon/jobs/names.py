"""Ids of jobs, files and batches. They are also the names of files on disk, so only we make them."""

from __future__ import annotations

import re
import secrets

_NAME = re.compile(r"(job_|file-|batch_)[0-9a-f]{24}")


def job_id() -> str:
    """An id that no job has."""
    return f"job_{secrets.token_hex(12)}"


def file_id() -> str:
    """An id that no file has."""
    return f"file-{secrets.token_hex(12)}"


def batch_id() -> str:
    """An id that no batch has."""
    return f"batch_{secrets.token_hex(12)}"


def is_name(text: str) -> bool:
    """Whether `text` can have been made here."""
    return _NAME.fullmatch(text) is not None
