"""What logs keep to themselves of an error that a prompt caused: whatever it says may quote the prompt."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from types import MappingProxyType

OF_PROMPT = MappingProxyType({"of_prompt": True})
"""`extra` of a log record with such an error."""
_OF_REQUESTS = "uvicorn.error"
"""The HTTP server logs whatever a request ended with."""


class PrivateFormatter(logging.Formatter):
    """Writes of such a record's error what it is and where it came up, but not what it says, unless asked to."""

    def __init__(self, form: str | None = None, times: str | None = None, *, log_prompts: bool) -> None:
        """`form` and `times` as `logging.Formatter` takes them."""
        super().__init__(form, times)
        self._log_prompts = log_prompts

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines."""
        record.exc_text = self.exception(record)  # used as it is by all formatters after us
        return super().format(record)

    def exception(self, record: logging.LogRecord) -> str | None:
        """What there is to say of the record's error, if it has one."""
        if (told := getattr(record, "error_of_prompt", None)) is not None:
            full, without_words = told
            return str(full if self._log_prompts else without_words)
        if not record.exc_info:
            return None
        of_prompt = getattr(record, "of_prompt", False) or record.name == _OF_REQUESTS
        error = record.exc_info[1]
        if error is None or self._log_prompts or not of_prompt:
            return self.formatException(record.exc_info)
        return wordless(error)


def error_of_prompt(error: BaseException) -> dict[str, tuple[str, str]]:
    """`extra` of a record with such an error that must not keep it: its frames may hold a GPU's memory."""
    return {"error_of_prompt": ("".join(traceback.format_exception(error)).rstrip(), wordless(error))}


def wordless(error: BaseException) -> str:
    """A traceback without what its errors say; the last line names the error."""
    head = "what the error says is left out, since it may quote a prompt; host.log_prompts: true shows it\n"
    return (head + "".join(_parts(error, set()))).rstrip()


def _parts(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None and id(earlier) not in seen:
        yield from _parts(earlier, seen)
        yield "\nand then:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__name__}\n"
