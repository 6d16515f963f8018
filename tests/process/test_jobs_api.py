"""Files and batches as OpenAI's client uses them, over a served desk; jobs that are refused, interrupted, cancelled."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from aquahost.api.rate_limits import RateLimits
from aquahost.clock import SystemClock
from aquahost.config.names import DEFAULT_TENANT
from aquahost.daemon.jobs.job_table import JobTable, NewJob
from aquahost.daemon.jobs.store import Store
from aquahost.errors import ModelUnavailableError, QueueFullError, StorageError, UnknownJobError
from aquahost.messages.jobs import BatchState, JobState
from aquahost.messages.prompts import ErrorDetail
from fake_daemon import PNG, WORDS, FakeDaemon, answer, fake_settings, hang
from job_host import PATIENCE_S, JobHost, a_desk, batch_ended, job_host, post_form, until

REPLY = "".join(WORDS)
BODY = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
TENANTS = {"web": {"key": "key-of-web"}, "lab": {"key": "key-of-lab"}}


def lines(*bodies: dict[str, Any], url: str = "/v1/chat/completions") -> bytes:
    asked = (
        {"custom_id": f"c{number}", "method": "POST", "url": url, "body": body} for number, body in enumerate(bodies)
    )
    return b"".join(json.dumps(line).encode() + b"\n" for line in asked)


def a_job(model: str = "chat", tenant: str = DEFAULT_TENANT, **body: Any) -> NewJob:
    given = json.dumps({**BODY, "model": model, **body}).encode()
    return NewJob(tenant=tenant, model=model, endpoint="/v1/chat/completions", body=given)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[JobHost]:
    async with job_host(tmp_path, FakeDaemon()) as running:
        yield running


async def send(client: openai.AsyncOpenAI, content: bytes, endpoint: Any = "/v1/chat/completions") -> Any:
    file = await client.files.create(file=("in.jsonl", content), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"run": "1"}
    )


async def content_of(client: openai.AsyncOpenAI, file_id: str) -> list[Any]:
    return [json.loads(line) for line in (await client.files.content(file_id)).content.splitlines()]


async def ended(host: JobHost, job: str) -> Any:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        view = await host.desk.job(job)
        if view.state.has_ended:
            return view
        assert time.monotonic() < deadline_s, f"the job is still {view.state}"
        await asyncio.sleep(0.005)


async def test_a_batch_from_upload_to_output(host: JobHost) -> None:
    host.daemon.script = lambda stream, request: (
        stream.fail(ErrorDetail(message="too long", status=400, code="context_length_exceeded"))
        if request.sampling.max_tokens == 1
        else answer(stream, request)
    )
    batch = await send(host.client, lines(BODY, {**BODY, "max_tokens": 1}, {**BODY, "n": 2}))
    assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"run": "1"})
    batch = await batch_ended(host.client, batch.id)
    assert batch.status == "completed"
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (3, 2, 1)
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at < batch.expires_at
    good = await content_of(host.client, batch.output_file_id)
    assert [line["custom_id"] for line in good] == ["c0", "c2"]
    assert good[0]["response"]["body"]["choices"][0]["message"]["content"] == REPLY
    assert len(good[1]["response"]["body"]["choices"]) == 2
    (bad,) = await content_of(host.client, batch.error_file_id)
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("c1", 400)
    assert bad["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert {stream.tenant for stream in host.daemon.streams} == {"default+jobs"}
    assert {stream.priority for stream in host.daemon.streams} == {1000}
    assert await host.desk.jobs(list(JobState), 99) == [], "all of it lies in the files"


async def test_a_bad_line_fails_the_batch_before_anything_runs(host: JobHost) -> None:
    batch = await batch_ended(host.client, (await send(host.client, lines(BODY, {"model": "chat"}))).id)
    assert batch.status == "failed"
    assert [(error.line, error.code) for error in batch.errors.data] == [(2, "missing_required_parameter")]
    assert host.daemon.streams == []


async def test_a_batch_for_which_there_is_no_room_fails(tmp_path: Path) -> None:
    async with job_host(tmp_path, FakeDaemon(fake_settings(jobs={"max_queued": 2}))) as host:
        batch = await batch_ended(host.client, (await send(host.client, lines(BODY, BODY, BODY))).id)
        assert [error.code for error in batch.errors.data] == ["too_many_jobs"]
        batch = await batch_ended(host.client, (await send(host.client, lines(BODY, BODY))).id)
        assert batch.status == "completed"


async def test_completions_and_images(host: JobHost) -> None:
    text = lines({"model": "chat", "prompt": ["a", "b"]}, url="/v1/completions")
    image = lines({"model": "paint", "prompt": "a boat"}, url="/v1/images/generations")
    one = await batch_ended(host.client, (await send(host.client, text, "/v1/completions")).id)
    two = await batch_ended(host.client, (await send(host.client, image, "/v1/images/generations")).id)
    (reply,) = await content_of(host.client, one.output_file_id)
    assert [choice["text"] for choice in reply["response"]["body"]["choices"]] == [REPLY, REPLY]
    (reply,) = await content_of(host.client, two.output_file_id)
    assert len(reply["response"]["body"]["data"][0]["b64_json"]) >= len(PNG)


async def test_files_are_listed_fetched_and_deleted(host: JobHost) -> None:
    files = [await host.client.files.create(file=(f"{n}.jsonl", b"x" * n), purpose="batch") for n in (1, 2, 3)]
    assert [file.id async for file in host.client.files.list()] == [file.id for file in reversed(files)]
    paged = [file.id async for file in host.client.files.list(limit=2, order="asc")]
    assert paged == [file.id for file in files]
    one = await host.client.files.retrieve(files[1].id)
    assert (one.filename, one.bytes, one.purpose, one.object) == ("2.jsonl", 2, "batch", "file")
    assert (await host.client.files.content(one.id)).content == b"xx"
    assert (await host.client.files.delete(one.id)).deleted
    for call in (host.client.files.retrieve, host.client.files.content, host.client.files.delete):
        with pytest.raises(openai.NotFoundError) as failure:
            await call(one.id)
        assert failure.value.code == "file_not_found"


async def test_batches_are_listed_and_cancelled(host: JobHost) -> None:
    host.daemon.script = hang
    first, second = [await send(host.client, lines(BODY, BODY)) for _ in range(2)]
    await until(lambda: len(host.daemon.live) == 4)
    assert [batch.id async for batch in host.client.batches.list(limit=1)] == [second.id, first.id]
    assert (await host.client.batches.cancel(first.id)).status in ("cancelling", "finalizing", "cancelled")
    batch = await batch_ended(host.client, first.id)
    assert batch.status == "cancelled"
    assert batch.output_file_id is None
    assert [line["error"]["code"] for line in await content_of(host.client, batch.error_file_id)] == [
        "batch_cancelled"
    ] * 2
    await until(lambda: len(host.daemon.live) == 2)
    with pytest.raises(openai.ConflictError):
        await host.client.batches.cancel(first.id)
    assert (await host.client.batches.retrieve(second.id)).status == "in_progress"


async def test_another_tenant_s_things_are_not_there(tmp_path: Path) -> None:
    daemon = FakeDaemon(fake_settings(tenants=TENANTS))
    async with job_host(tmp_path, daemon) as host:
        web, lab = host.as_tenant("key-of-web"), host.as_tenant("key-of-lab")
        batch = await send(web, lines(BODY))
        done = await batch_ended(web, batch.id)
        assert {stream.tenant for stream in daemon.streams} == {"web+jobs"}
        for call, which in (
            (lab.files.retrieve, batch.input_file_id),
            (lab.files.content, done.output_file_id),
            (lab.files.delete, done.output_file_id),
            (lab.batches.retrieve, batch.id),
            (lab.batches.cancel, batch.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await call(which)
        with pytest.raises(openai.NotFoundError):
            await lab.batches.create(
                input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
            )
        assert [file async for file in lab.files.list()] == []
        assert [one async for one in lab.batches.list()] == []
        with pytest.raises(openai.AuthenticationError):
            await host.client.files.list()
        async with httpx.AsyncClient() as plain:
            assert (await plain.get(f"{host.url}/control/jobs")).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x\r\n",
        b"--x--\r\n",
        b"--y\r\n\r\n",
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nno file\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nno purpose\r\n--x--\r\n',
        b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--\r\n",
        b"--x\r\n: \xff\xff\r\n\r\n",
    ],
)
async def test_a_broken_form_is_a_400(host: JobHost, body: bytes) -> None:
    reply = await post_form(host.url, body)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["type"] == "invalid_request_error"


async def test_no_mutation_of_a_form_is_a_fault_of_ours(host: JobHost) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    form = part % (b"purpose", b"batch") + part % (b'file"; filename="a', b"{}") + b"--x--\r\n"
    assert (await post_form(host.url, form)).status_code == 200
    chance = random.Random(7)
    for _ in range(150):
        mutant = bytearray(form)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(mutant) - 20)
            mutant[at : at + chance.choice([0, 1, 20])] = chance.randbytes(chance.choice([0, 1]))
        reply = await post_form(host.url, bytes(mutant))
        assert reply.status_code in (200, 400), (mutant, reply.text)


@pytest.mark.parametrize("charset", ["utf-7", "undefined", "idna", "utf-16", "nothing"])
async def test_any_charset_of_a_form(host: JobHost, charset: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="+2AA-\xff"\r\n\r\nhi\r\n--x--\r\n'
    reply = await post_form(host.url, body, f"x; charset={charset}")
    assert reply.status_code == 400


async def test_names_lead_nowhere_and_sizes_are_limited(tmp_path: Path) -> None:
    daemon = FakeDaemon(fake_settings(jobs={"max_upload_bytes": 1000}))
    async with job_host(tmp_path / "jobs", daemon) as host:
        file = await host.client.files.create(file=("../../../etc/passwd", b"x" * 1000), purpose="batch")
        assert file.filename == "passwd"
        for nbytes in (1001, 200_000):
            with pytest.raises(openai.APIStatusError) as failure:
                await host.client.files.create(file=("big", b"x" * nbytes), purpose="batch")
            assert failure.value.status_code == 413
        with pytest.raises(openai.BadRequestError):
            await host.client.files.create(file=("in", b"x"), purpose="fine-tune")
        for path in ("/v1/files/..%2f..%2fjobs.sqlite/content", "/v1/files/%00/content", "/v1/batches/%ff"):
            async with httpx.AsyncClient() as plain:
                assert (await plain.get(host.url + path)).status_code == 404
        foreign = await post_form(host.url, b"--x--\r\n", origin="http://10.1.2.3")
        assert foreign.status_code == 403
    names = {entry.name for entry in (tmp_path / "jobs" / "contents").iterdir()}
    assert names == {file.id}


async def test_a_refused_job_tries_again_and_says_why_it_waits(host: JobHost) -> None:
    host.daemon.refuse = ModelUnavailableError("the model is being loaded", code="model_loading", retry_after_s=0.05)
    (job,) = await host.desk.submit([a_job()])
    for _ in range(1000):
        view = await host.desk.job(job.id)
        if view.note:
            break
        await asyncio.sleep(0.005)
    assert (view.state, view.note, view.attempts) == (JobState.QUEUED, "the model is being loaded", 0)
    host.daemon.refuse = None
    view = await ended(host, job.id)
    assert (view.state, view.attempts) == (JobState.COMPLETED, 1)
    _, data = await host.desk.result(job.id)
    assert json.loads(data)["choices"][0]["message"]["content"] == REPLY


class StridingClock:
    """Time that passes whenever someone looks, and not otherwise."""

    def __init__(self, stride_s: float) -> None:
        self._now_s, self._stride_s = 0.0, stride_s

    def now_s(self) -> float:
        self._now_s += self._stride_s
        return self._now_s


@pytest.mark.parametrize("stride_s", [0.35, 0.6, 0.95])
async def test_a_pause_that_ends_while_the_runner_looks_is_not_missed(tmp_path: Path, stride_s: float) -> None:
    async with job_host(tmp_path, FakeDaemon(), StridingClock(stride_s)) as host:
        host.daemon.refuse = ModelUnavailableError("not yet", retry_after_s=0.05)
        (job,) = await host.desk.submit([a_job()])
        await asyncio.sleep(0.2)
        host.daemon.refuse = None
        assert (await ended(host, job.id)).state is JobState.COMPLETED


async def test_so_many_of_a_model_run_at_once_and_other_models_do_not_wait(tmp_path: Path) -> None:
    daemon = FakeDaemon(fake_settings(jobs={"concurrency": 2, "max_queued": 5}), hang)
    async with job_host(tmp_path, daemon) as host:
        jobs = await host.desk.submit([a_job(user=str(number)) for number in range(3)] + [a_job("org/chat")])
        await until(lambda: len(daemon.live) == 3)
        await asyncio.sleep(0.05)
        assert sorted(stream.model for stream in daemon.live) == ["chat", "chat", "org/chat"]
        with pytest.raises(QueueFullError):
            await host.desk.submit([a_job(), a_job()])
        await host.desk.cancel(jobs[0].id)
        await until(lambda: len(daemon.streams) == 4)
        assert (await host.desk.job(jobs[0].id)).state is JobState.CANCELLED
        assert daemon.streams[0].cancelled or daemon.streams[1].cancelled


async def test_jobs_leave_half_of_a_queue_to_prompts_that_somebody_waits_for(tmp_path: Path) -> None:
    daemon = FakeDaemon(fake_settings(max_queue=6), hang)
    async with job_host(tmp_path, daemon) as host:
        await host.desk.submit([a_job(user=str(number)) for number in range(8)])
        await until(lambda: len(daemon.live) == 3)
        await asyncio.sleep(0.05)
        assert len(daemon.live) == 3
        daemon.live[0].cancel()
        await until(lambda: len(daemon.streams) == 4)


async def test_a_prompt_cancelled_by_hand_ends_its_job(host: JobHost) -> None:
    host.daemon.script = hang
    (job,) = await host.desk.submit([a_job()])
    await until(lambda: host.daemon.live)
    host.daemon.live[0].cancel()
    assert (await ended(host, job.id)).state is JobState.CANCELLED
    with pytest.raises(UnknownJobError):
        await host.desk.cancel("job_none")


async def test_what_runs_when_the_daemon_ends_runs_again(tmp_path: Path) -> None:
    daemon = FakeDaemon(script=hang)
    async with job_host(tmp_path, daemon) as host:
        (job,) = await host.desk.submit([a_job()])
        batch = await send(host.client, lines(BODY))
        await until(lambda: len(daemon.live) == 2)
    assert daemon.live == []
    store = Store(tmp_path)
    assert store.jobs.open_count(DEFAULT_TENANT) == 2
    store.close()
    async with job_host(tmp_path, FakeDaemon()) as host:
        assert (await ended(host, job.id)).attempts == 2
        assert (await batch_ended(host.client, batch.id)).status == "completed"


async def test_a_claim_that_fails_while_the_daemon_ends_does_not_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a review: the end was swallowed with the error, and never came."""
    is_claiming, goes_on = threading.Event(), threading.Event()

    def claim(*_: Any) -> list[Any]:
        is_claiming.set()
        goes_on.wait(PATIENCE_S)
        raise sqlite3.OperationalError("disk I/O error")

    async with job_host(tmp_path, FakeDaemon()) as host:
        monkeypatch.setattr(JobTable, "claim", claim)
        await host.desk.submit([a_job()])
        await until(is_claiming.is_set)
        ending = asyncio.create_task(host.desk.stop_beginning())
        await asyncio.sleep(0.05)
        goes_on.set()
        await asyncio.wait_for(ending, PATIENCE_S)


async def test_jobs_of_a_model_that_is_hosted_no_more_wait_until_it_is_back(host: JobHost) -> None:
    host.daemon.refuse = ModelUnavailableError("being loaded; try again soon", code="model_loading", retry_after_s=0.05)
    (job,) = await host.desk.submit([a_job()])
    await _noted(host, job.id, "being loaded")
    before, host.daemon.settings = host.daemon.settings, fake_settings(models={"secret": {"kind": "toy"}})
    await _noted(host, job.id, "the model 'chat' is not hosted any more")
    host.daemon.settings, host.daemon.refuse = before, None
    assert (await ended(host, job.id)).state is JobState.COMPLETED


async def _noted(host: JobHost, job: str, note: str) -> None:
    async with asyncio.timeout(20):
        while (view := await host.desk.job(job)).note != note:
            assert view.state is not JobState.FAILED
            await asyncio.sleep(0.005)


async def test_jobs_take_their_tokens_of_their_tenant_s_rate(tmp_path: Path) -> None:
    daemon = FakeDaemon(fake_settings(tenants={"web": {"key": "key-of-web", "tokens_per_minute": 100}}))
    async with job_host(tmp_path, daemon, rates=RateLimits(daemon.settings.tenants, SystemClock())) as host:
        first, second = await host.desk.submit([a_job(max_tokens=90, tenant="web"), a_job(max_tokens=90, tenant="web")])
        assert (await ended(host, first.id)).state is JobState.COMPLETED
        for _ in range(1000):
            view = await host.desk.job(second.id)
            if view.note:
                break
            await asyncio.sleep(0.005)
        assert (view.state, view.attempts) == (JobState.QUEUED, 0)
        assert "100 tokens" in view.note


class FullDisk:
    """A disk that takes no content until `full` is made false."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        real = os.fsync

        def fsync(fd: int) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(fd)

        monkeypatch.setattr(os, "fsync", fsync)


async def test_a_result_that_finds_the_disk_full_waits_for_room(host: JobHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aquahost.daemon.jobs.store_thread.RETRY_S", 0.05)
    disk = FullDisk(monkeypatch)
    (job,) = await host.desk.submit([a_job()])
    await until(lambda: host.daemon.streams and host.daemon.streams[0].ended)
    with pytest.raises(openai.InternalServerError) as failure:
        await host.client.files.create(file=("in", b"x"), purpose="batch")
    assert failure.value.status_code == 503
    assert "No space left on device" in failure.value.message
    await asyncio.sleep(0.2)
    view = await host.desk.job(job.id)
    assert (view.state, view.note) == (JobState.RUNNING, "done, but the disk has no room for its result")
    disk.full = False
    assert (await ended(host, job.id)).state is JobState.COMPLETED
    assert len(host.daemon.streams) == 1, "it has not run again"


async def test_a_result_for_which_there_is_no_room_is_made_again_by_the_next_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    async with job_host(tmp_path, FakeDaemon()) as host:
        (job,) = await host.desk.submit([a_job()])
        await until(lambda: host.daemon.streams and host.daemon.streams[0].ended)
        await asyncio.sleep(0.05)
    disk.full = False
    async with job_host(tmp_path, FakeDaemon()) as host:
        assert (await ended(host, job.id)).state is JobState.COMPLETED


async def test_a_batch_whose_files_cannot_be_written_yet_waits(host: JobHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aquahost.daemon.jobs.store_thread.RETRY_S", 0.02)
    real, refusals = os.replace, 3

    def replace(source: str, target: Path) -> None:
        nonlocal refusals
        if Path(target).name.startswith("file-") and len(host.daemon.streams) and refusals:
            refusals -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    batch = await batch_ended(host.client, (await send(host.client, lines(BODY))).id)
    assert (batch.status, refusals) == ("completed", 0)
    assert len(await content_of(host.client, batch.output_file_id)) == 1


async def test_a_batch_whose_time_is_over_expires(tmp_path: Path) -> None:
    daemon = FakeDaemon(script=hang)
    async with job_host(tmp_path, daemon) as host:
        file = await host.client.files.create(file=("in", lines(BODY)), purpose="batch")
        batch = await host.desk.create_batch(
            DEFAULT_TENANT,
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            window_s=-1.0,
            metadata=None,
        )
        await until(lambda: daemon.live)
    async with job_host(tmp_path, daemon) as host:
        ended_batch = await batch_ended(host.client, batch.id)
        assert ended_batch.status == "expired"
        assert ended_batch.expired_at is not None
        (line,) = await content_of(host.client, ended_batch.error_file_id)
        assert line["error"]["code"] == "batch_expired"


async def test_the_owner_cancels_batches_of_any_tenant(tmp_path: Path) -> None:
    daemon = FakeDaemon(fake_settings(tenants=TENANTS, host={"admin_key": "key-of-admin"}), script=hang)
    async with job_host(tmp_path, daemon) as host:
        batch = await send(host.as_tenant("key-of-web"), lines(BODY))
        await until(lambda: daemon.live)
        path = f"{host.url}/control/batches/{batch.id}/cancel"
        async with httpx.AsyncClient(trust_env=False) as client:
            for key, status in (("key-of-lab", 403), ("key-of-admin", 200)):
                reply = await client.post(path, headers={"authorization": f"Bearer {key}"})
                assert reply.status_code == status
            assert (await batch_ended(host.as_tenant("key-of-web"), batch.id)).status == "cancelled"
            for which, status in ((batch.id, 409), ("batch_0", 404)):
                path = f"{host.url}/control/batches/{which}/cancel"
                reply = await client.post(path, headers={"authorization": "Bearer key-of-admin"})
                assert reply.status_code == status


async def test_a_batch_that_breaks_the_reader_fails(host: JobHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(host.desk._batches, "_read_input", broken)
    batch = await batch_ended(host.client, (await send(host.client, lines(BODY))).id)
    assert (batch.status, [error.code for error in batch.errors.data]) == ("failed", ["internal_error"])


async def test_a_job_cancelled_as_it_is_claimed_does_not_begin(host: JobHost, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, real = asyncio.get_running_loop(), JobTable.claim

    def claim(table: JobTable, *words: Any) -> Any:
        jobs = real(table, *words)
        for job in jobs:
            if b'"seed"' in job.body:  # before the runner hears of it
                assert table.cancel(job.id, 1.0)
                loop.call_soon_threadsafe(host.desk._runner.drop, job.id)
        return jobs

    monkeypatch.setattr(JobTable, "claim", claim)
    first, second = await host.desk.submit([a_job(seed=1), a_job()])
    assert (await ended(host, second.id)).state is JobState.COMPLETED
    assert (await ended(host, first.id)).state is JobState.CANCELLED
    assert [stream.request.sampling.seed for stream in host.daemon.streams] == [None]


async def test_figures_of_jobs(host: JobHost) -> None:
    (job,) = await host.desk.submit([a_job()])
    await ended(host, job.id)
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{host.url}/metrics")).text
    for line in ('jobs{state="completed"} 1.0', 'jobs{state="queued"} 0.0', 'rate_limited_total{of="tokens"} 0.0'):
        assert f"aquahost_{line}" in text


async def test_a_file_that_a_batch_is_yet_to_read_stays(tmp_path: Path) -> None:
    daemon, faults = FakeDaemon(), list[str]()
    desk = a_desk(tmp_path, daemon, faults)
    source = tmp_path / "source"
    source.write_bytes(lines(BODY))
    with source.open("rb") as content:
        file = await desk.add_file(DEFAULT_TENANT, "in", "batch", content, source.stat().st_size)
    await desk._storage.do(lambda store: store.batches.add(_validating(file.id)))
    with pytest.raises(Exception, match="being read by a batch"):
        await desk.remove_file(DEFAULT_TENANT, file.id)
    await desk.close()
    with pytest.raises(RuntimeError):
        await desk.file(DEFAULT_TENANT, file.id)


def _validating(file_id: str) -> Any:
    from aquahost.messages.jobs import Batch

    return Batch(
        id="batch_1",
        tenant=DEFAULT_TENANT,
        endpoint="/v1/chat/completions",
        input_file_id=file_id,
        output_file_id="file-1",
        error_file_id="file-2",
        completion_window="24h",
        window_s=1e6,
        state=BatchState.VALIDATING,
        created_at=0,
    )


def test_a_storage_error_is_a_503() -> None:
    assert StorageError("x").status == 503
