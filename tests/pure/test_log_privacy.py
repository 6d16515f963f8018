"""What logs say of errors that prompts cause."""

from __future__ import annotations

import io
import logging

import pytest

from aquahost.log_privacy import OF_PROMPT, PrivateFormatter

SECRET = "the patient's name is Alice"


def chained() -> None:
    try:
        raise KeyError(SECRET)
    except KeyError as error:
        try:
            raise ValueError(f"cannot take {SECRET}") from error
        except ValueError:
            raise RuntimeError(SECRET)  # noqa: B904 - an error's context may quote as well


def logged(name: str, *, log_prompts: bool, **extra: object) -> str:
    stream = io.StringIO()
    handlers = [logging.StreamHandler(stream), logging.StreamHandler(stream)]
    for handler in handlers:
        handler.setFormatter(PrivateFormatter("%(levelname)s %(message)s", log_prompts=log_prompts))
    logger = logging.Logger(name)
    logger.handlers = list(handlers)
    try:
        chained()
    except RuntimeError:
        logger.exception("prompt %s failed", "p1", extra=extra)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["aquahost.worker.loop", "uvicorn.error"])
def test_words_of_errors_are_left_out_and_the_rest_is_told(name: str) -> None:
    text = logged(name, log_prompts=False, **(OF_PROMPT if name.startswith("aquahost") else {}))
    assert SECRET not in text.replace('f"cannot take {SECRET}"', "")
    assert "ERROR prompt p1 failed\n" in text
    assert text.endswith("RuntimeError\n")
    assert text.index("KeyError\n") < text.index("ValueError\n") < text.index("RuntimeError\n")
    assert "in chained" in text


def test_they_are_told_to_whoever_asks_and_of_other_errors() -> None:
    assert SECRET in logged("aquahost.worker.loop", log_prompts=True, **OF_PROMPT)
    assert SECRET in logged("aquahost.worker.main", log_prompts=False)


def test_an_error_that_is_its_own_context_ends() -> None:
    error = ValueError(SECRET)
    error.__context__ = KeyError(SECRET)
    error.__context__.__context__ = error
    record = logging.LogRecord("x", logging.ERROR, "", 0, "m", (), (ValueError, error, None))
    record.of_prompt = True
    assert SECRET not in PrivateFormatter("%(message)s", log_prompts=False).format(record)
