"""Kills a process at every instant of the store's work, one after the other, and looks at what it left.

Run as a script with a folder and a scenario's name; prints one JSON object. Single-threaded, so it may fork.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from aquahost.api.batch_lines import written_line
from aquahost.daemon.jobs.batch_files import BatchFiles
from aquahost.daemon.jobs.job_table import NewJob
from aquahost.daemon.jobs.store import Reply, Store
from aquahost.messages.jobs import Batch, BatchState, JobState
from aquahost.messages.prompts import ErrorDetail

KILLED = -signal.SIGKILL
BATCH = Batch(
    id="batch_" + "b" * 24,
    tenant="t",
    endpoint="/v1/completions",
    input_file_id="file-" + "1" * 24,
    output_file_id="file-" + "2" * 24,
    error_file_id="file-" + "3" * 24,
    completion_window="24h",
    window_s=86400.0,
    state=BatchState.VALIDATING,
    created_at=0,
)
Tell = Callable[[str, str], None]


def kill_at(instant: int) -> None:
    """End this process before its call number `instant` of the system or of SQLite; after one is before the next."""
    count = 0

    def profile(_: FrameType, event: str, function: Any) -> None:
        nonlocal count
        if event != "c_call":
            return
        owner = getattr(function, "__self__", None)
        named = getattr(owner, "__name__", "") == "posix" and function.__name__ not in ("write", "kill")
        if named or isinstance(owner, sqlite3.Connection) or hasattr(owner, "fileno"):
            count += 1
            if count == instant:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(profile)


def some_jobs(store: Store, tell: Tell) -> None:
    """Submit three jobs, complete one, fail one, and leave one running."""
    new = [NewJob(tenant="t", model="m", endpoint="/v1/completions", body=b"%d" % number) for number in range(3)]
    for view in store.submit(new, 1.0):
        tell("submitted", view.id)
    first, second, _ = store.jobs.claim("m", [], 3, 2.0)
    assert store.keep_result(first, Reply("text/plain", first.body), 3.0)
    tell("completed", first.id)
    with store.transaction():
        assert store.jobs.fail(second.id, ErrorDetail(message="no"), 3.0)
    tell("failed", second.id)


def a_batch(store: Store, tell: Tell) -> None:
    """Run a batch of two jobs to its end."""
    with store.transaction():
        store.batches.add(BATCH)
    tell("batch", BATCH.id)
    finish_batch(store, tell)


def finish_batch(store: Store, tell: Tell) -> None:
    """Go on with the batch, wherever it stands."""
    batch = store.batches.get(BATCH.id)
    if batch is None or batch.state.has_ended:
        return
    if batch.state is BatchState.VALIDATING:
        new = [
            NewJob(tenant="t", model="m", endpoint="e", body=b"%d" % n, batch_id=batch.id, custom_id=f"c{n}")
            for n in range(2)
        ]
        assert store.begin_batch(batch.id, new, 1.0)
        tell("begun", batch.id)
    for job in store.jobs.claim("m", [], 9, 2.0):
        assert store.keep_result(job, Reply("application/json", job.body), 3.0)
        tell("answered", job.body.decode())
    with store.transaction():
        ready = store.batches.move(batch.id, BatchState.FINALIZING, 4.0) or store.batches.get(batch.id)
    assert ready is not None
    files = BatchFiles(store, ready, written_line)
    while files.write_some():
        pass
    store.end_batch(ready, files.commit(), 5.0)
    tell("ended", batch.id)


def check_jobs(store: Store, told: dict[str, list[str]]) -> None:
    """What was told is so, and whatever is not ended runs again to one result each."""
    for job in told.get("submitted", []):
        assert store.jobs.view(job) is not None, "a job is lost"
    for state in (JobState.COMPLETED, JobState.FAILED):
        for job in told.get(str(state), []):
            view = store.jobs.view(job)
            assert view is not None
            assert view.state is state
    assert not store.jobs.views([JobState.RUNNING], 9)
    check_contents(store)
    for job in store.jobs.claim("m", [], 9, 9.0):
        assert job.id not in told.get("completed", []) + told.get("failed", []), "a job would run twice"
        assert store.keep_result(job, Reply("text/plain", job.body), 9.0)
        assert not store.keep_result(job, Reply("text/plain", b"another"), 9.0)
    check_contents(store)
    assert all(view.state.has_ended for view in store.jobs.views(list(JobState), 9))


def check_batch(store: Store, told: dict[str, list[str]]) -> None:
    """The batch goes on, and ends with one reply to each request."""
    check_contents(store)
    batch = store.batches.get(BATCH.id)
    assert batch is not None or "batch" not in told
    if batch is None:
        return
    answered = store.jobs.views([JobState.COMPLETED], 9)
    assert batch.state.has_ended or len(answered) >= len(told.get("answered", []))
    finish_batch(store, lambda *_: None)
    batch = store.batches.get(BATCH.id)
    assert batch is not None
    assert (batch.state, batch.has_output, batch.has_errors) == (BatchState.COMPLETED, True, False)
    assert (batch.counts.total, batch.counts.completed) == (2, 2)
    lines = [msgspec.json.decode(line) for line in store.blobs.read(batch.output_file_id).splitlines()]
    assert [(line["custom_id"], line["response"]["body"]) for line in lines] == [("c0", 0), ("c1", 1)]
    check_contents(store)


def check_contents(store: Store) -> None:
    """There is a content for each row that has one, and for nothing else."""
    folder = store.blobs.path(BATCH.input_file_id).parent
    assert {entry.name for entry in folder.iterdir()} == {*store.jobs.with_results(), *store.files.ids()}


SCENARIOS: dict[str, tuple[Callable[[Store, Tell], None], Callable[[Store, dict[str, list[str]]], None]]] = {
    "jobs": (some_jobs, check_jobs),
    "batch": (a_batch, check_batch),
}


def run_killed(folder: Path, instant: int, work: Callable[[Store, Tell], None]) -> tuple[int, dict[str, list[str]]]:
    """Do the work in a process that is killed at that instant; its end, and what it had told before."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        kill_at(instant)
        store = Store(folder)
        store.recover(9.0)
        work(store, lambda what, which: (os.write(writing, f"{what} {which}\n".encode()), None)[1])
        sys.setprofile(None)
        os._exit(0)
    os.close(writing)
    told: dict[str, list[str]] = {}
    with os.fdopen(reading) as pipe:
        for line in pipe:
            what, which = line.split()
            told.setdefault(what, []).append(which)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), told


def main() -> None:
    """Every instant, until the work comes to its end."""
    base, (work, check) = Path(sys.argv[1]), SCENARIOS[sys.argv[2]]
    instant, tellings, status = 0, set(), KILLED
    while status == KILLED:
        instant += 1
        folder = base / "jobs"
        status, told = run_killed(folder, instant, work)
        store = Store(folder)
        store.recover(9.0)
        try:
            check(store, told)
        finally:
            store.close()
        tellings.add(sum(map(len, told.values())))
        shutil.rmtree(folder)
    sys.stdout.write(json.dumps({"status": status, "instants": instant - 1, "tellings": sorted(tellings)}))


if __name__ == "__main__":
    main()
