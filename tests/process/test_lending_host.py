"""Lending, end to end: a chat model borrows an idle image model's HBM under load, and gives it back when asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from aquahost.client import Client
from aquahost.events import Event, EventKind
from aquahost.messages.snapshot import LeaseState, ModelState, ModelView, Snapshot
from aquahost_cuda.emulated.faults import inject
from aquahost_cuda.emulated.node import Faults
from daemon_fixtures import ServedDaemon, served_daemon

MIB = 1 << 20
PATIENCE_S = 90
PROMPTS = [f"{what}, and then" for what in ("Once upon a time", "A fox", "Rain", "Two numbers", "A song", "The moon")]
MODELS: dict[str, dict[str, Any]] = {
    "chat": {
        "kind": "llm",
        "source": "demo:chat",
        "gpu": 0,
        "kv_bytes": "4MiB",
        "borrow_bytes": "48MiB",
        "host_kv_bytes": "64MiB",
        "max_context": 1024,
    },
    "paint": {"kind": "image", "source": "demo:paint", "gpu": 1, "steps": 3, "max_size_px": 256},
}
LEASING = {"linger_s": 0.3, "cooldown_s": 0.2, "recall_deadline_s": 1.0, "park_after_s": None}


class Host:
    """A served daemon, and ways to ask and to look."""

    def __init__(self, served: ServedDaemon) -> None:
        self.served = served
        self._control = Client(Path(served.info.socket))
        self._openai = openai.OpenAI(
            base_url=f"http://127.0.0.1:{served.info.port}/v1", api_key="any", max_retries=0, timeout=PATIENCE_S
        )

    def snapshot(self) -> Snapshot:
        return self._control.snapshot()

    def model(self, name: str) -> ModelView:
        return next(model for model in self.snapshot().models if model.name == name)

    def wait(self, condition: Callable[[Snapshot], object], what: str) -> Snapshot:
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition(snapshot := self.snapshot()):
            assert time.monotonic() < deadline_s, f"{what} did not come: {snapshot}"
            time.sleep(0.01)
        return snapshot

    def ready(self) -> None:
        self.wait(lambda s: all(model.state is ModelState.READY for model in s.models), "readiness")

    def chat(self, text: str, tokens: int = 500) -> str:
        reply = self._openai.completions.create(
            model="chat", prompt=text, max_tokens=tokens, temperature=0, extra_body={"ignore_eos": True}
        )
        return reply.choices[0].text

    def paint(self) -> None:
        self._openai.images.generate(model="paint", prompt="a red circle", size="256x256")

    def events(self) -> list[Event]:
        last = self.snapshot().last_event_seq
        found = []
        for event in self._control.events():
            found.append(event)
            if event.seq >= last:
                return found
        raise AssertionError("the events ended")

    def run(self, *words: str) -> Any:
        line = [sys.executable, "-m", "aquahost", *words, "-o", "json"]
        env = {**os.environ, "AQUAHOST_SOCKET": self.served.info.socket}
        return json.loads(subprocess.run(line, env=env, capture_output=True, check=True).stdout)

    def check_ledger(self) -> None:
        """The daemon looks at its ledger with every reading of the GPUs, and is unhealthy if it is wrong."""
        if self.served.process.poll() is None:
            self.wait(lambda s: all(model.state is not ModelState.LOADING for model in s.models), "the end of loads")
            time.sleep(1.2)  # at least one more reading
            assert not self.health()

    def health(self) -> list[str]:
        url = f"http://127.0.0.1:{self.served.info.port}/healthz"
        try:
            with urllib.request.urlopen(url) as reply:
                found: list[str] = json.load(reply)["problems"]
        except urllib.error.HTTPError as error:
            found = [error.read().decode()]
        return found

    def close(self) -> None:
        self._control.close()
        self._openai.close()


@contextmanager
def hosting(folder: Path, *, gpus: int = 2) -> Iterator[Host]:
    emulated = {"gpus": gpus, "gpu_bytes": "36MiB"}
    with served_daemon(folder, MODELS, leasing=LEASING, emulated=emulated, step_timeout_s=60) as served:
        host = Host(served)
        try:
            host.ready()
            yield host
            host.check_ledger()
        finally:
            host.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with hosting(tmp_path) as host:
        yield host


class Load:
    """Chats that run beside a test; their replies, or what they failed with."""

    def __init__(self, host: Host) -> None:
        self.replies: dict[str, str] = {}
        self.errors: list[openai.APIError] = []
        self._threads = [threading.Thread(target=self._ask, args=(host, text)) for text in PROMPTS]
        for thread in self._threads:
            thread.start()

    def _ask(self, host: Host, text: str) -> None:
        try:
            self.replies[text] = host.chat(text)
        except openai.APIError as error:
            self.errors.append(error)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a chat never ended"


def borrowed(snapshot: Snapshot) -> bool:
    """Whether a lease is mapped and holds KV: more is in use than lies on the model's own GPU, and none in the host."""
    stats = next(model.stats for model in snapshot.models if model.name == "chat")
    mapped = any(lease.state is LeaseState.MAPPED for lease in snapshot.leases)
    return mapped and stats is not None and stats.kv_used_bytes > stats.kv_bytes and not stats.host_bytes


def kinds(events: list[Event]) -> list[EventKind]:
    return [event.kind for event in events]


def test_a_lease_is_taken_under_load_and_recalled_when_an_image_is_asked_for(host: Host) -> None:
    load = Load(host)
    snapshot = host.wait(borrowed, "a lease with KV in it")
    assert {(lease.donor, lease.borrower, lease.borrower_gpu) for lease in snapshot.leases} == {(1, "chat", 0)}
    lent_bytes = sum(lease.nbytes for lease in snapshot.leases)
    donor = snapshot.gpus[1]
    assert donor.lent_bytes == snapshot.gpus[0].borrowed_bytes == lent_bytes
    parts = (donor.weights_bytes, donor.kv_bytes, donor.work_bytes, donor.lent_bytes, donor.other_bytes)
    assert sum(parts) + donor.free_bytes == donor.total_bytes
    flows = host.wait(lambda s: s.flows, "traffic").flows
    assert {frozenset((flow.source, flow.target)) for flow in flows} == {frozenset((0, 1))}
    assert all(flow.bytes_per_s > 0 for flow in flows)
    listed = host.run("leases")
    assert {(lease["donor"], lease["borrower"]) for lease in listed} == {(1, "chat")}
    assert "mapped" in {lease["state"] for lease in listed}
    assert host.run("gpus")[1]["lent_bytes"] >= lent_bytes

    host.paint()
    load.join()
    events = host.events()
    seen = kinds(events)
    for earlier, later in (
        (EventKind.LEASE_GRANTED, EventKind.LEASE_MAPPED),
        (EventKind.LEASE_MAPPED, EventKind.LEASE_RECALLED),
        (EventKind.LEASE_RECALLED, EventKind.LEASE_RETURNED),
    ):
        assert seen.index(earlier) < seen.index(later), f"{earlier} was to come before {later}: {seen}"
    assert not {EventKind.LEASE_OVERDUE, EventKind.LEASE_LOST, EventKind.WORKER_DIED} & set(seen)
    assert not load.errors
    assert load.replies == {text: host.chat(text) for text in PROMPTS}, "a reply depends on where its KV lay"
    host.wait(lambda s: not s.leases, "the end of all leases")
    assert host.model("chat").restarts == host.model("paint").restarts == 0


def test_a_borrower_that_is_killed_gives_everything_back(host: Host) -> None:
    load = Load(host)
    host.wait(borrowed, "a lease with KV in it")
    pid = host.model("chat").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    load.join()
    assert not load.errors
    host.paint()
    snapshot = host.wait(lambda s: s.models[0].restarts == 1 and s.models[0].state is ModelState.READY, "a restart")
    assert EventKind.LEASE_RETURNED in kinds(host.events())
    assert not [lease for lease in snapshot.leases if lease.state is LeaseState.LOST]
    assert load.replies == {text: host.chat(text) for text in PROMPTS}, "a reply shows that its worker died"
    host.wait(lambda s: s.gpus[1].lent_bytes == 0 and s.gpus[1].free_bytes > 20 * MIB, "the donor's memory")


def test_a_donor_that_is_killed_while_lending_is_served_first_when_it_is_back(host: Host) -> None:
    load = Load(host)
    host.wait(borrowed, "a lease with KV in it")
    pid = host.model("paint").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    host.wait(lambda s: s.models[1].restarts == 1 and s.models[1].state is ModelState.READY, "the donor's restart")
    host.paint()
    load.join()
    assert not load.errors
    assert load.replies == {text: host.chat(text) for text in PROMPTS}
    assert host.model("chat").restarts == 0


def test_a_borrower_that_ignores_a_recall_is_killed_and_the_owner_served(host: Host) -> None:
    load = Load(host)
    host.wait(borrowed, "a lease with KV in it")
    pid = host.model("chat").pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    began_s = time.monotonic()
    host.paint()
    took_s = time.monotonic() - began_s
    load.join()
    seen = kinds(host.events())
    assert (
        seen.index(EventKind.LEASE_RECALLED) < seen.index(EventKind.LEASE_OVERDUE) < seen.index(EventKind.WORKER_DIED)
    )
    assert took_s < 14, "it was the missing heartbeat that ended it, not the broker"
    host.wait(lambda s: s.models[0].restarts == 1 and s.models[0].state is ModelState.READY, "the borrower's restart")
    assert not load.errors
    assert load.replies == {text: host.chat(text) for text in PROMPTS}, "a reply shows that its worker died"


def test_a_gpu_that_is_lost_while_it_lends_costs_no_reply(tmp_path: Path) -> None:
    with hosting(tmp_path, gpus=3) as host:
        load = Load(host)
        snapshot = host.wait(borrowed, "a lease with KV in it")
        donor = next(lease.donor for lease in snapshot.leases if lease.state is LeaseState.MAPPED)
        (node,) = (tmp_path / "run").rglob("node")
        inject(str(node), Faults(lost_gpus=(donor,)))
        load.join()
        assert not load.errors
        assert EventKind.GPU_LOST in kinds(host.events())
        assert load.replies == {text: host.chat(text) for text in PROMPTS}


def test_a_killed_daemon_leaves_no_memory_taken(tmp_path: Path) -> None:
    with hosting(tmp_path) as host:
        Load(host)
        host.wait(borrowed, "a lease with KV in it")
        pids = [model.pid for model in host.snapshot().models if model.pid]
        host.served.process.kill()
        host.served.process.wait()
        deadline_s = time.monotonic() + PATIENCE_S
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < deadline_s, "a worker outlived its daemon"
            time.sleep(0.05)
    with hosting(tmp_path) as host:
        assert [gpu.other_bytes + gpu.lent_bytes for gpu in host.snapshot().gpus] == [0, 0]
        assert host.chat(PROMPTS[0], 20)


def test_an_idle_model_is_parked_and_answers_its_next_prompt(tmp_path: Path) -> None:
    entries = {**MODELS}
    leasing = {**LEASING, "park_after_s": 0.5}
    emulated = {"gpus": 2, "gpu_bytes": "36MiB"}
    with served_daemon(tmp_path, entries, leasing=leasing, emulated=emulated) as served:
        host = Host(served)
        try:
            host.ready()
            first = host.chat(PROMPTS[0], 20)
            snapshot = host.wait(
                lambda s: all(model.stats is not None and model.stats.parked for model in s.models), "parking"
            )
            assert {model.state for model in snapshot.models} == {ModelState.READY}
            assert [gpu.weights_bytes + gpu.kv_bytes for gpu in snapshot.gpus] == [0, 0]
            assert host.chat(PROMPTS[0], 20) == first
            host.paint()
            seen = kinds(host.events())
            assert seen.index(EventKind.MODEL_PARKED) < seen.index(EventKind.MODEL_WOKEN)
        finally:
            host.close()
