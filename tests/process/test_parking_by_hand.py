"""Real workers parked, woken and pinned through the API, and a prompt that several look on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aquahost.client import Client, StepDone, TextEnd, TextPiece
from aquahost.errors import InvalidRequestError, ModelStateError, UnknownPromptError
from aquahost.events import Event, EventKind
from aquahost.messages.snapshot import ModelState, ModelView, Snapshot
from daemon_fixtures import ServedDaemon, served_daemon, toy

PATIENCE_S = 90
MODELS: dict[str, dict[str, Any]] = {
    "paint": {"kind": "image", "source": "demo:paint", "gpu": 0, "steps": 3, "max_size_px": 64},
    "lorem": toy(step_s=0.02),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedDaemon]:
    emulated = {"gpus": 2, "gpu_bytes": "64MiB"}
    leasing = {"park_after_s": None, "linger_s": 0.1}
    with served_daemon(tmp_path_factory.mktemp("p"), MODELS, leasing=leasing, emulated=emulated) as daemon:
        with Client(Path(daemon.info.socket)) as client:
            until(client, lambda s: all(model.state is ModelState.READY for model in s.models))
        yield daemon


@pytest.fixture
def client(served: ServedDaemon) -> Iterator[Client]:
    with Client(Path(served.info.socket)) as made:
        yield made


def until(client: Client, condition: Callable[[Snapshot], object]) -> Snapshot:
    """The first snapshot of a watch for which the condition holds."""
    deadline_s = time.monotonic() + PATIENCE_S
    for seen in client.watch(per_s=20):
        if isinstance(seen, Snapshot) and condition(seen):
            return seen
        assert time.monotonic() < deadline_s, f"what was waited for did not come: {seen}"
    raise AssertionError("the daemon ended")


def model(snapshot: Snapshot, name: str = "paint") -> ModelView:
    return next(model for model in snapshot.models if model.name == name)


def parked(snapshot: Snapshot) -> str:
    stats = model(snapshot).stats
    return stats.parked if stats is not None else ""


def test_parked_woken_pinned_and_pinned_still_after_a_restart(client: Client) -> None:
    client.park("paint")
    away = until(client, parked)
    assert away.gpus[0].weights_bytes == 0
    client.wake("paint")
    assert until(client, lambda s: not parked(s)).gpus[0].weights_bytes > 0
    client.park("paint")
    until(client, parked)
    client.pin("paint")
    assert model(until(client, lambda s: not parked(s))).pinned
    with pytest.raises(ModelStateError, match="pinned") as refused:
        client.park("paint")
    assert refused.value.status == 409
    pid = model(client.snapshot()).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(client, lambda s: model(s).restarts and model(s).state is ModelState.READY)
    with pytest.raises(ModelStateError, match="pinned"):
        client.park("paint")
    client.unpin("paint")
    client.park("paint")
    until(client, parked)
    assert list(client.image("paint", "a circle", size="64x64"))
    assert not parked(client.snapshot())
    kinds = [seen.kind for seen in events_so_far(client)]
    assert kinds.count(EventKind.MODEL_PARKED) == kinds.count(EventKind.MODEL_WOKEN) == 3


def events_so_far(client: Client) -> Iterator[Event]:
    last = client.snapshot().last_event_seq
    for event in client.events():
        yield event
        if event.seq >= last:
            return


def test_a_toy_has_nothing_to_park(client: Client) -> None:
    for ask in (client.park, client.wake, client.pin, client.unpin):
        with pytest.raises(InvalidRequestError, match="nothing to park"):
            ask("lorem")


def test_what_is_unloaded_is_not_parked(client: Client) -> None:
    client.unload("paint", 0.0)
    with pytest.raises(ModelStateError, match="not loaded"):
        client.park("paint")
    client.load("paint")
    until(client, lambda s: model(s).state is ModelState.READY)


def test_a_prompt_is_watched_by_two_and_busy_models_are_seen_to_be(client: Client, served: ServedDaemon) -> None:
    reply = client.complete("lorem", "x", max_tokens=150)
    text = next(reply)
    assert isinstance(text, TextPiece)
    (prompt,) = client.snapshot().prompts
    seen: list[list[TextPiece | StepDone | TextEnd]] = []

    def watch() -> None:
        with Client(Path(served.info.socket)) as own:
            seen.append(list(own.prompt_output(prompt.id)))

    watchers = [threading.Thread(target=watch) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    gone = client.prompt_output(prompt.id)
    next(gone)
    gone.close()  # type: ignore[attr-defined]
    busy = until(client, lambda s: any((gpu.utilisation or 0) > 0.5 for gpu in s.gpus))
    assert busy.first_tokens.prompts >= 1
    assert [(one.name, one.live) for one in busy.tenants] == [("default", 1)]
    whole = text.text + "".join(part.text for part in reply if isinstance(part, TextPiece))
    for watcher in watchers:
        watcher.join()
    for parts in seen:
        assert "".join(part.text for part in parts if isinstance(part, TextPiece)) == whole
        assert parts[-1] == TextEnd(finish_reason="length", input_tokens=1, output_tokens=150)
    with pytest.raises(UnknownPromptError):
        next(client.prompt_output(prompt.id))
    (tenant,) = client.snapshot().tenants
    assert (tenant.live, tenant.waiting) == (0, 0)
    assert tenant.output_tokens >= 150
    assert tenant.service_s >= 150 * 0.02
    until(client, lambda s: not any(gpu.utilisation for gpu in s.gpus))
