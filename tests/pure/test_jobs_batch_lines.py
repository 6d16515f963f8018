"""Lines of a batch's input file, good and bad, and what is written of each."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aquahost.api.batch_lines import BatchInput, written_line
from aquahost.daemon.jobs.batch_work import MOST_ERRORS, ReadBatch
from aquahost.daemon.jobs.job_table import EndedInBatch
from aquahost.messages.jobs import Batch, BatchState, JobState
from aquahost.messages.prompts import ErrorDetail
from fake_daemon import fake_settings

BODY = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
URL = "/v1/chat/completions"


def a_batch(endpoint: str = URL, **fields: Any) -> Batch:
    given_fields: dict[str, Any] = {"state": BatchState.VALIDATING, **fields}
    return Batch(
        id="batch_1",
        tenant="web",
        endpoint=endpoint,
        input_file_id="file-1",
        output_file_id="file-2",
        error_file_id="file-3",
        completion_window="24h",
        window_s=86400.0,
        created_at=0,
        **given_fields,
    )


def a_line(custom_id: str = "one", **changes: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": URL, "body": BODY, **changes}


def read(tmp_path: Path, *lines: Any, endpoint: str = URL, models: list[str] | None = None, **jobs: int) -> ReadBatch:
    path = tmp_path / "input"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    settings = fake_settings(host={"max_body_bytes": 10_000}, jobs=jobs)
    return BatchInput(lambda: settings)(a_batch(endpoint, models=models), path)


def test_a_batch_asks_only_models_that_are_its_senders(tmp_path: Path) -> None:
    (error,) = read(tmp_path, a_line("a"), models=["paint"]).errors
    assert error.code == "model_not_found"
    assert "chat" not in error.message.replace("no model 'chat'", "")
    assert not read(tmp_path, a_line("a"), models=["chat"]).errors


def test_good_lines_become_jobs_in_order(tmp_path: Path) -> None:
    found = read(tmp_path, a_line("a"), b"", a_line("b", body={**BODY, "max_tokens": 3}), b"  ")
    assert found.errors == []
    assert [(job.custom_id, job.model, job.tenant, job.batch_id) for job in found.jobs] == [
        ("a", "chat", "web", "batch_1"),
        ("b", "chat", "web", "batch_1"),
    ]
    assert json.loads(found.jobs[1].body)["max_tokens"] == 3


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (b"{", "invalid_json_line", "not valid JSON"),
        (b"\xff\xfe", "invalid_json_line", "JSON"),
        (b'{"custom_id": "\xff"}', "invalid_json_line", "UTF-8"),
        (b'{"custom_id": "c", "body": ' + b"[" * 5000, "invalid_json_line", "JSON"),
        (b"[1]", "invalid_line", "no request"),
        ({"custom_id": "x"}, "invalid_line", "method"),
        (a_line(custom_id=7), "invalid_line", "custom_id"),
        (a_line(""), "invalid_custom_id", "1 to 512"),
        (a_line("x" * 513), "invalid_custom_id", "1 to 512"),
        (a_line("a"), "duplicate_custom_id", "same custom_id"),
        (a_line(method="GET"), "invalid_method", "POST"),
        (a_line(url="/v1/completions"), "mismatched_url", "/v1/chat/completions"),
        (a_line(body={"model": "chat"}), "missing_required_parameter", "'messages' is missing"),
        (a_line(body={**BODY, "stream": True}), "invalid_value", "not streamed"),
        (a_line(body={**BODY, "model": "none"}), "model_not_found", "no model 'none'"),
        (a_line(body={**BODY, "model": "paint"}), "invalid_request", "of kind image"),
        (a_line(body={**BODY, "stap": []}), "unknown_parameter", "did you mean 'stop'"),
        (a_line(body={**BODY, "user": "x" * 10_000}), "line_too_long", "max_body_bytes"),
        (a_line(more=1), "invalid_line", "more"),
    ],
    ids=itertools.count(),
)
def test_a_bad_line_is_named_by_its_number(line: Any, code: str, words: str, tmp_path: Path) -> None:
    found = read(tmp_path, a_line("a"), b"", line)
    assert found.jobs == []
    assert [(error.line, error.code) for error in found.errors] == [(3, code)]
    assert words in found.errors[0].message


def test_images_of_batches_come_in_the_reply(tmp_path: Path) -> None:
    route = "/v1/images/generations"
    body = {"model": "paint", "prompt": "a boat"}
    good, bad = a_line("a", url=route, body=body), a_line("b", url=route, body={**body, "response_format": "url"})
    assert len(read(tmp_path, good, endpoint=route).jobs) == 1
    assert [error.param for error in read(tmp_path, bad, endpoint=route).errors] == ["body.response_format"]


def test_too_many_lines_and_too_many_errors(tmp_path: Path) -> None:
    many = [a_line(str(number)) for number in range(4)]
    assert len(read(tmp_path, *many, max_batch_lines=4).jobs) == 4
    assert [error.line for error in read(tmp_path, *many, max_batch_lines=3).errors] == [4]
    assert len(read(tmp_path, *[b"?"] * 500).errors) == MOST_ERRORS
    assert [error.code for error in read(tmp_path, b"", b" ").errors] == ["empty_file"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.lists(st.binary(max_size=80), max_size=5))
def test_any_bytes_give_jobs_or_errors(tmp_path: Path, noise: list[bytes]) -> None:
    found = read(tmp_path, *noise)
    assert found.jobs == []
    assert found.errors


@pytest.mark.parametrize(
    ("ends_as", "state", "error", "reply", "expected"),
    [
        (BatchState.COMPLETED, JobState.COMPLETED, None, b'{"a":1}', (200, {"a": 1}, None)),
        (BatchState.CANCELLED, JobState.COMPLETED, None, b"[]", (200, [], None)),
        (BatchState.CANCELLED, JobState.CANCELLED, None, None, (None, None, "batch_cancelled")),
        (BatchState.EXPIRED, JobState.CANCELLED, None, None, (None, None, "batch_expired")),
        (BatchState.COMPLETED, JobState.CANCELLED, None, None, (None, None, "request_cancelled")),
    ],
)
def test_written_lines(
    ends_as: BatchState, state: JobState, error: ErrorDetail | None, reply: bytes | None, expected: tuple[Any, ...]
) -> None:
    ended = EndedInBatch(seq=1, id="job_7", custom_id="c", state=state, error=error)
    line = written_line(a_batch(state=BatchState.FINALIZING, ends_as=ends_as), ended, reply)
    assert line.endswith(b"\n")
    found = msgspec.json.decode(line)
    assert (found["id"], found["custom_id"]) == ("batch_req_7", "c")
    response = found["response"] or {"status_code": None, "body": None}
    assert (response["status_code"], response["body"], (found["error"] or {}).get("code")) == expected


def test_a_failed_request_is_written_as_the_api_would_have_answered() -> None:
    detail = ErrorDetail(message="too long", status=400, type="invalid_request_error", code="context_length_exceeded")
    ended = EndedInBatch(seq=1, id="job_7", custom_id="c", state=JobState.FAILED, error=detail)
    found = msgspec.json.decode(written_line(a_batch(), ended, None))
    assert found["response"]["status_code"] == 400
    assert found["response"]["body"]["error"]["code"] == "context_length_exceeded"
