"""The store of jobs, whose process is killed at every instant; and folders that it refuses."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aquahost.daemon.jobs.job_table import MOST_KILLS, NewJob
from aquahost.daemon.jobs.store import Reply, Store
from aquahost.errors import StartError
from aquahost.messages.jobs import JobState

MEMORY = Path("/dev/shm")
KILLER = Path(__file__).parents[1] / "support" / "job_store_killer.py"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "jobs")
    yield opened
    opened.close()


@pytest.mark.parametrize(("scenario", "tellings"), [("jobs", [0, 3, 4, 5]), ("batch", [0, 1, 2, 3, 4, 5])])
def test_killed_at_any_instant_nothing_is_lost_or_done_twice(
    scenario: str, tellings: list[int], tmp_path: Path
) -> None:
    # In memory where that can be: what a killed process has written is there, and nothing waits for a disk.
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as folder:
        line = [sys.executable, str(KILLER), folder, scenario]
        done = subprocess.run(line, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["status"] == 0
    assert found["instants"] > 60
    assert found["tellings"] == tellings, "an instant between two steps was never tried"


def aged(now_s: float) -> Callable[[float], float]:
    """Ages at a time."""
    return lambda since_s: now_s - since_s


def test_files_are_for_their_owner_alone(store: Store, tmp_path: Path) -> None:
    store.submit([NewJob(tenant="t", model="m", endpoint="e", body=b"{}")], 1.0)
    (job,) = store.jobs.claim("m", [], 1, 1.0)
    store.keep_result(job, Reply("text/plain", b"x"), 1.0)
    for path in [tmp_path / "jobs", *(tmp_path / "jobs").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_two_daemons_do_not_share_a_folder(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="another daemon keeps its jobs"):
        Store(tmp_path / "jobs")


def test_a_cancelled_job_takes_no_result(store: Store) -> None:
    store.submit([NewJob(tenant="t", model="m", endpoint="e", body=b"{}")], 1.0)
    (job,) = store.jobs.claim("m", [], 1, 1.0)
    assert store.jobs.cancel(job.id, 2.0)
    assert not store.keep_result(job, Reply("text/plain", b"x"), 2.0)
    assert not store.jobs.requeue(job.id, refused=False)
    assert not store.blobs.path(job.id).exists()


def test_oldest_first_and_tenants_can_be_passed_over(store: Store) -> None:
    store.submit([NewJob(tenant=tenant, model="m", endpoint="e", body=tenant.encode()) for tenant in "abcab"], 1.0)
    assert [job.tenant for job in store.jobs.claim("m", ["a"], 2, 1.0)] == ["b", "c"]
    assert [job.tenant for job in store.jobs.claim("m", [], 9, 1.0)] == ["a", "b", "a"]
    assert store.jobs.queued_models() == []


def test_a_tenant_with_many_jobs_keeps_nobody_waiting(store: Store) -> None:
    store.submit([NewJob(tenant=tenant, model="m", endpoint="e", body=b"{}") for tenant in "aaaaab"], 1.0)
    store.submit([NewJob(tenant="c", model="other", endpoint="e", body=b"{}")], 1.0)
    running = store.jobs.claim("m", [], 3, 1.0)
    assert [job.tenant for job in running] == ["a", "b", "a"]
    store.submit([NewJob(tenant="b", model="m", endpoint="e", body=b"{}")] * 2, 2.0)
    assert [job.tenant for job in store.jobs.claim("m", [], 2, 2.0)] == ["b", "a"], "with what runs already"
    assert store.jobs.counts() == {"queued": 4, "running": 5}


def test_what_kills_the_daemon_again_and_again_is_given_up(store: Store) -> None:
    store.submit([NewJob(tenant="t", model="m", endpoint="e", body=b"{}")], 1.0)
    for _ in range(2 * MOST_KILLS):  # daemons that end by themselves do not count
        (job,) = store.jobs.claim("m", [], 1, 1.0)
        store.jobs.requeue(job.id, refused=False)
    for _ in range(MOST_KILLS - 1):
        store.jobs.claim("m", [], 1, 1.0)
        assert store.recover(2.0) == 1
    store.jobs.claim("m", [], 1, 1.0)
    assert store.recover(3.0) == 0
    view = store.jobs.view(job.id)
    assert view is not None
    assert (view.state, view.attempts, view.ended_at) == (JobState.FAILED, 3 * MOST_KILLS, 3.0)
    assert view.error is not None
    assert view.error.code == "too_many_kills"


def test_with_fewer_places_than_tenants_each_has_its_turn(store: Store) -> None:
    store.submit([NewJob(tenant=tenant, model="m", endpoint="e", body=b"{}") for tenant in "aaabbbccc"], 1.0)
    order = ""
    while jobs := store.jobs.claim("m", [], 1, 1.0):
        order += jobs[0].tenant
        store.keep_result(jobs[0], Reply("text/plain", b"x"), 2.0)
    assert order == "abcabcabc"


def test_a_database_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    store = Store(folder)
    store.submit([NewJob(tenant="t", model="m", endpoint="e", body=b"{}")], 1.0)
    store.close()
    with sqlite3.connect(folder / "jobs.sqlite") as old:
        old.execute("ALTER TABLE jobs DROP COLUMN kills")
        old.execute("DROP INDEX jobs_by_tenant")
        old.execute("CREATE INDEX jobs_by_state ON jobs (state, model, seq, tenant)")
        old.execute("PRAGMA user_version = 1")
    old.close()
    for _ in range(2):
        store = Store(folder)
        assert store.jobs.open_count("t") == 1
        assert store.recover(2.0) == 0
        store.close()


def test_what_was_asked_does_not_outlive_its_row(store: Store, tmp_path: Path) -> None:
    store.submit([NewJob(tenant="t", model="m", endpoint="e", body=b"a-secret-of-mine")], 1.0)
    (job,) = store.jobs.claim("m", [], 1, 1.0)
    store.jobs.cancel(job.id, 2.0)
    store.sweep(age_s=aged(1000.0), keep_s=1.0, max_bytes=1)
    texts = [path.read_bytes() for path in (tmp_path / "jobs").rglob("*") if path.is_file()]
    assert sum(len(text) for text in texts) > 1000
    assert not any(b"a-secret-of-mine" in text for text in texts)


def test_retention_removes_rows_and_contents(store: Store) -> None:
    store.submit([NewJob(tenant="t", model="m", endpoint="e", body=b"{}")] * 3, 1.0)
    old, new, _ = store.jobs.claim("m", [], 3, 1.0)
    store.keep_result(old, Reply("text/plain", b"old"), 10.0)
    store.keep_result(new, Reply("text/plain", b"new"), 20.0)
    assert store.sweep(age_s=aged(115.0), keep_s=100.0, max_bytes=1000) == 1
    assert [view.id for view in store.jobs.views([JobState.COMPLETED], 9)] == [new.id]
    assert not store.blobs.path(old.id).exists()
    assert store.sweep(age_s=aged(115.0), keep_s=100.0, max_bytes=2) == 0, "it came last"
    assert store.sweep(age_s=aged(121.0), keep_s=100.0, max_bytes=2) == 1
    assert not store.blobs.path(new.id).exists()
    assert len(store.jobs.views([JobState.RUNNING], 9)) == 1


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("PRAGMA user_version = 3", "are of version 3"),
        ("PRAGMA application_id = 7", "of another program"),
    ],
)
def test_a_foreign_or_newer_database_is_refused_in_one_line(sql: str, words: str, tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
        connection.execute(sql)
    connection.close()
    with pytest.raises(StartError, match=words) as refusal:
        Store(tmp_path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("noise", [b"this is no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_broken_database_is_refused_in_one_line(noise: bytes, tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(noise)
    for _ in range(2):  # the first refusal has let go of the folder
        with pytest.raises(StartError, match="cannot be read") as refusal:
            Store(tmp_path)
        assert "\n" not in str(refusal.value)


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.submit([NewJob(tenant="t", model="m", endpoint="e", body=b"{}" * 500)] * 50, 1.0)
    store.close()
    with (tmp_path / "jobs.sqlite").open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xa5" * 4096 * 4)
    with pytest.raises(StartError, match="cannot be read"):
        Store(tmp_path)
