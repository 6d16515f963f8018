"""How a line of a log looks: as text for people, or as a JSON object for programs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from aquahost.log_privacy import PrivateFormatter

PROMPT_ID, MODEL = "prompt_id", "model"
"""Fields that a record may carry, given as `extra`."""


class TextFormat(PrivateFormatter):
    """Text; the prompt's id comes last, where there is one and the message does not name it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        """The line, without what an exception adds."""
        line = super().formatMessage(record)
        prompt_id = getattr(record, PROMPT_ID, None)
        return f"{line} [prompt {prompt_id}]" if prompt_id and prompt_id not in record.message else line


class JsonFormat(PrivateFormatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, and where there are such model, prompt_id
    and exception."""

    def __init__(self, model: str | None = None, *, log_prompts: bool = False) -> None:
        """`model`: whose log it is, for records that name none."""
        super().__init__(log_prompts=log_prompts)
        self._model = model

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "time": at,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if model := getattr(record, MODEL, None) or self._model:
            line["model"] = model
        if prompt_id := getattr(record, PROMPT_ID, None):
            line["prompt_id"] = prompt_id
        if exception := self.exception(record):
            line["exception"] = exception
        return json.dumps(line, ensure_ascii=False)


def log_format(
    name: str, text: str, *, model: str | None = None, date: str | None = None, log_prompts: bool = False
) -> logging.Formatter:
    """The formatter of host.log_format: "json", or "text" with this format and this format of dates; `log_prompts` as
    host.log_prompts."""
    if name == "json":
        return JsonFormat(model, log_prompts=log_prompts)
    return TextFormat(text, date, log_prompts=log_prompts)


def said(line: str) -> str:
    """What a line of a log says, at its end; of one in JSON, the exception's last line or the message."""
    if not line.startswith("{"):
        return line
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    words = fields.get("exception") or fields.get("message") if isinstance(fields, dict) else None
    lines = [part.strip() for part in words.splitlines() if part.strip()] if isinstance(words, str) else []
    return lines[-1] if lines else line
