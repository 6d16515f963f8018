"""The daemon's socket to its workers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import msgspec
import pytest
import zmq

from aquahost.daemon.worker_link import WorkerLink
from aquahost.messages.wire import FromWorker, Heartbeat
from aquahost.worker.spec import voice_identity
from daemon_fixtures import until


@pytest.fixture
def endpoint() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="aquahost-test.") as folder:
        yield f"ipc://{folder}/s"


async def test_a_message_that_cannot_be_handled_is_a_fault_told_once_and_loses_no_other(
    endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    delivered: list[int] = []

    def handle(worker_id: int, message: FromWorker) -> None:
        assert isinstance(message, Heartbeat)
        if message.loop_passes < 2:
            raise AssertionError("no legal transition")
        delivered.append(message.loop_passes)

    link = WorkerLink(endpoint, handle)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    worker = context.socket(zmq.DEALER)
    worker.setsockopt(zmq.IDENTITY, voice_identity(1))
    link.start()
    try:
        worker.connect(endpoint)
        for count in range(5):
            worker.send(msgspec.msgpack.encode(Heartbeat(count, busy=False)))
        worker.send(b"noise")
        worker.send(msgspec.msgpack.encode(Heartbeat(5, busy=False)))
        await until(lambda: delivered == [2, 3, 4, 5])
    finally:
        worker.close(0)
        context.term()
        link.close()
    assert link.faults == ["the daemon could not handle a worker's message (AssertionError); restart the daemon"]
    assert caplog.text.count("AssertionError: no legal transition") == 1
