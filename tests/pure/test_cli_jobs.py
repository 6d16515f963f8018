"""`aquahost submit`, `jobs`, `wait`, `result` and `cancel` of jobs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from aquahost.messages.jobs import JobList, JobState, JobView
from aquahost.messages.prompts import ErrorDetail
from cli_harness import Canned, a_model, a_snapshot, error, run_cli

ID = "job_000000000000000000000001"
SUBMIT = "POST /control/jobs"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def a_view(state: JobState = JobState.QUEUED, job: str = ID, **fields: Any) -> JobView:
    return JobView(
        id=job, tenant="web", model="chat", endpoint="/v1/chat/completions", state=state, created_at=1.0, **fields
    )


def reply(value: Any, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=msgspec.json.encode(value))


def in_turn(*views: JobView) -> Any:
    left = list(views)
    return lambda _: reply(left.pop(0) if len(left) > 1 else left[0])


@pytest.mark.parametrize(
    ("kind", "words", "endpoint", "body"),
    [
        (
            "llm",
            ["Hi", "--max-tokens", "3", "--system", "Be brief."],
            "/v1/chat/completions",
            {
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
                "max_tokens": 3,
            },
        ),
        ("toy", ["Hi", "--raw"], "/v1/completions", {"prompt": "Hi"}),
        (
            "image",
            ["Hi", "--size", "8x8", "-n", "2"],
            "/v1/images/generations",
            {"prompt": "Hi", "size": "8x8", "n": 2},
        ),
        ("audio", ["Hi", "--duration", "2s"], "/v1/audio/speech", {"input": "Hi", "duration": 2.0}),
    ],
)
def test_what_is_submitted(kind: str, words: list[str], endpoint: str, body: dict[str, Any]) -> None:
    api = Canned(a_snapshot(a_model(kind=kind)), **{SUBMIT: reply(a_view(), 201)})
    done = run_cli("submit", "chat", *words, api=api)
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{ID}\n", "")
    assert api.bodies == [{"endpoint": endpoint, "body": {"model": "chat", **body}}]


def test_several_prompts_and_stdin() -> None:
    api = Canned(a_snapshot(a_model()), **{SUBMIT: reply(a_view(), 201)})
    assert run_cli("submit", "chat", "one", "two", "-o", "json", api=api).exit_code == 0
    assert run_cli("submit", "chat", "-", api=api, stdin="three").exit_code == 0
    assert [body["body"]["messages"][0]["content"] for body in api.bodies] == ["one", "two", "three"]
    assert json.loads(run_cli("submit", "chat", "x", "-o", "json", api=api).stdout)[0]["id"] == ID


def test_an_option_for_another_kind_is_refused_before_anything_is_sent() -> None:
    api = Canned(a_snapshot(a_model()))
    assert run_cli("submit", "chat", "Hi", "--steps", "3", api=api).exit_code == 2
    assert run_cli("submit", "chta", "Hi", api=api).exit_code == 4
    assert api.asked == []


def test_the_list_says_what_is_to_be_known() -> None:
    failed = a_view(JobState.FAILED, error=ErrorDetail(message="too\nlong"), started_at=2.0, ended_at=5.5, attempts=1)
    waiting = a_view(note="the model is being loaded", attempts=2)
    listed = JobList([failed, waiting])
    api = Canned(
        **{"GET /control/jobs?limit=1000": reply(listed), "GET /control/jobs?limit=5&state=failed": reply(listed)}
    )
    table = run_cli("jobs", api=api).stdout.splitlines()
    assert table[0].split() == ["ID", "MODEL", "TENANT", "STATE", "AGE", "TOOK", "NOTE"]
    assert table[1].endswith("3.5 s  too long")
    assert table[2].endswith("-  begun 2x; the model is being loaded")
    shown = json.loads(run_cli("jobs", "--state", "failed", "--limit", "5", "-o", "json", api=api).stdout)
    assert shown[0]["error"]["message"] == "too\nlong"
    assert run_cli("jobs", "-q", api=api).stdout.split() == [ID, ID]
    assert run_cli("jobs", "--state", "lost", api=api).exit_code == 2


def test_wait_tells_each_change_once_and_how_it_ended() -> None:
    other = ID[:-1] + "2"
    api = Canned(
        **{
            f"GET /control/jobs/{ID}": in_turn(
                a_view(), a_view(), a_view(JobState.RUNNING), a_view(JobState.COMPLETED, result_bytes=2048)
            ),
            f"GET /control/jobs/{other}": in_turn(a_view(JobState.CANCELLED, other)),
        }
    )
    done = run_cli("wait", ID, other, ID, api=api)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"{ID}: queued",
        f"{other}: cancelled (1 of 2)",
        f"{ID}: running",
        f"{ID}: completed: 2.0 KiB (2 of 2)",
    ]
    assert api.asked.count(f"GET /control/jobs/{other}") == 1


def test_wait_ends_well_or_when_its_time_is_over() -> None:
    api = Canned(**{f"GET /control/jobs/{ID}": in_turn(a_view(), a_view(JobState.COMPLETED))})
    assert run_cli("wait", ID, api=api).exit_code == 0
    api = Canned(**{f"GET /control/jobs/{ID}": in_turn(a_view())})
    done = run_cli("wait", ID, "--timeout", "3s", api=api)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, f"aquahost: still not ended: {ID}")
    gone = Canned(**{f"GET /control/jobs/{ID}": error(404, "no job", code="job_not_found")})
    assert run_cli("wait", ID, api=gone).exit_code == 4
    assert run_cli("wait", "../snapshot", api=api).exit_code == 4


def result_api(data: bytes, media_type: str = "application/json") -> Canned:
    view = a_view(JobState.COMPLETED, media_type=media_type)
    result = httpx.Response(200, content=data)
    return Canned(**{f"GET /control/jobs/{ID}": reply(view), f"GET /control/jobs/{ID}/result": result})


def test_text_of_a_result(folder: Path) -> None:
    data = json.dumps({"choices": [{"message": {"content": "Hellö"}}, {"message": {"content": "two"}}]}).encode()
    assert run_cli("result", ID, api=result_api(data)).stdout == "Hellö\ntwo\n"
    assert run_cli("result", ID, "-o", "reply.txt", api=result_api(data)).stdout == ""
    assert (folder / "reply.txt").read_text() == "Hellö\ntwo"
    assert run_cli("result", ID, "--reply", api=result_api(data)).stdout_bytes == data
    completion = json.dumps({"choices": [{"text": " world"}]}).encode()
    assert run_cli("result", ID, api=result_api(completion)).stdout == " world\n"


def test_images_and_sounds_of_a_result(folder: Path) -> None:
    images = [{"b64_json": base64.b64encode(data).decode()} for data in (b"one", b"two")]
    data = json.dumps({"data": images, "output_format": "webp"}).encode()
    done = run_cli("result", ID, api=result_api(data))
    assert done.stdout.split() == [f"{ID}.webp", f"{ID}-2.webp"]
    assert (folder / f"{ID}-2.webp").read_bytes() == b"two"
    assert run_cli("result", ID, "-o", "x.png", api=result_api(data)).stdout.split() == ["x.png", "x-2.png"]
    sound = result_api(b"RIFF", "audio/wav")
    assert run_cli("result", ID, "-o", "-", api=sound).stdout_bytes == b"RIFF"
    assert run_cli("result", ID, api=result_api(b"RIFF", "audio/wav")).stdout == f"{ID}.wav\n"


def test_a_result_that_is_not_there_is_1() -> None:
    words = f"job {ID} has no result, it is failed: too long"
    api = Canned(**{f"GET /control/jobs/{ID}": reply(a_view()), f"GET /control/jobs/{ID}/result": error(409, words)})
    done = run_cli("result", ID, api=api)
    assert (done.exit_code, done.stderr) == (1, f"aquahost: {words}\n")
    assert run_cli("result", ID, "-o", "no/such/folder/x", api=api).exit_code == 2


def test_cancel_takes_jobs_and_prompts() -> None:
    api = Canned(**{f"POST /control/jobs/{ID}/cancel": reply(a_view(JobState.CANCELLED))})
    done = run_cli("cancel", ID, "p1", api=api)
    assert (done.exit_code, done.stdout.split()) == (0, [ID, "p1"])
    assert api.asked == [f"POST /control/jobs/{ID}/cancel", "POST /control/prompts/p1/cancel"]


def test_cancel_takes_batches() -> None:
    api = Canned(**{"POST /control/batches/batch_1/cancel": reply({"id": "batch_1", "status": "cancelling"})})
    done = run_cli("cancel", "batch_1", api=api)
    assert (done.exit_code, done.stdout, api.asked) == (0, "batch_1\n", ["POST /control/batches/batch_1/cancel"])
