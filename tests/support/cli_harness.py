"""Commands run in this process against a daemon made of canned answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import msgspec
from typer.testing import CliRunner, Result

from aquahost.cli.main import app
from aquahost.cli.surroundings import Surroundings
from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import (
    SCHEMA_VERSION,
    GpuView,
    LeaseState,
    LeaseView,
    LinkView,
    ModelState,
    ModelView,
    PromptView,
    Snapshot,
)
from aquahost.messages.wire import EngineStats, Footprint

GIB = 1 << 30
Answer = httpx.Response | Callable[[httpx.Request], httpx.Response]


def run_cli(*words: str, api: Canned | None = None, env: Mapping[str, str] | None = None, stdin: Any = None) -> Result:
    """`aquahost WORDS`; without `api`, no daemon answers."""
    clock = iter(range(10**6))
    around = Surroundings(
        env=env or {"AQUAHOST_SOCKET": "/nonexistent/socket", "AQUAHOST_RUNTIME_DIR": "/nonexistent"},
        transport=httpx.MockTransport(api or unreachable),
        sleep=lambda _: None,
        now_s=lambda: float(next(clock)),
    )
    return CliRunner().invoke(app, list(words), obj=around, input=stdin, prog_name="aquahost")


def unreachable(request: httpx.Request) -> httpx.Response:
    """No daemon."""
    raise httpx.ConnectError("no such file", request=request)


class Canned:
    """Answers by "METHOD /path"; snapshots come in turn, the last one for ever. Keeps what it was asked."""

    def __init__(self, *snapshots: Snapshot, **answers: Answer) -> None:
        self.snapshots = list(snapshots)
        self.answers: dict[str, Answer] = answers
        self.asked: list[str] = []
        self.bodies: list[Any] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        key = f"{request.method} {request.url.raw_path.decode()}"
        if key == "GET /control/snapshot":
            taken = self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0]
            return httpx.Response(200, content=msgspec.json.encode(taken))
        self.asked.append(key)
        self.bodies.append(json.loads(request.content) if request.content else None)
        answer = self.answers.get(key, httpx.Response(200, json={"status": "ok"}))
        return answer(request) if callable(answer) else answer


def sse(*events: Any, done: bool = False) -> httpx.Response:
    """A stream of JSON events."""
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + ("data: [DONE]\n\n" if done else "")
    return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})


def error(status: int, message: str, **fields: Any) -> httpx.Response:
    """A failure in OpenAI's shape."""
    return httpx.Response(
        status, json={"error": {"message": message, "type": "t", "param": None, "code": None, **fields}}
    )


def chat_reply(*pieces: str) -> httpx.Response:
    """A streamed chat reply."""
    chunks = [{"choices": [{"delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": len(pieces)}}
    return sse(*chunks, end, usage, done=True)


def a_model(name: str = "chat", state: ModelState = ModelState.READY, **fields: Any) -> ModelView:
    """A model in a snapshot."""
    ready = state is ModelState.READY
    defaults: dict[str, Any] = {
        "kind": "llm",
        "source": "org/name",
        "gpu": 0 if ready else None,
        "pid": 42 if ready else None,
        "restarts": 0,
        "reason": None,
        "load": None,
        "footprint": Footprint(weights_bytes=2 * GIB, kv_bytes=GIB, max_context=4096) if ready else None,
        "stats": EngineStats(running=1) if ready else None,
        "queue": 0,
        "max_queue": 256,
        "ready_for_s": 65.0 if ready else None,
        "resident_bytes": GIB // 2 if ready else None,
    }
    return ModelView(name=name, state=state, **{**defaults, **fields})


def a_prompt(prompt_id: str = "p1", **fields: Any) -> PromptView:
    """A live prompt in a snapshot."""
    defaults: dict[str, Any] = {
        "model": "chat",
        "tenant": "web",
        "kind": "text",
        "state": PromptState.RUNNING,
        "age_s": 1.5,
        "input_tokens": 10,
        "output_tokens": 20,
        "steps_done": None,
        "steps": None,
        "first_token_s": 0.085,
    }
    return PromptView(id=prompt_id, **{**defaults, **fields})


def a_gpu(index: int = 0, **fields: Any) -> GpuView:
    """A GPU in a snapshot."""
    defaults: dict[str, Any] = {
        "uuid": f"GPU-{index}",
        "name": "Emulated GPU",
        "total_bytes": 8 * GIB,
        "free_bytes": 4 * GIB,
        "weights_bytes": 2 * GIB,
        "kv_bytes": GIB,
        "work_bytes": 0,
        "lent_bytes": 0,
        "borrowed_bytes": 0,
        "other_bytes": GIB,
        "models": ["chat"],
    }
    return GpuView(index=index, **{**defaults, **fields})


def a_lease(lease_id: int = 1, **fields: Any) -> LeaseView:
    """A lease in a snapshot."""
    defaults: dict[str, Any] = {
        "donor": 1,
        "borrower": "chat",
        "borrower_gpu": 0,
        "nbytes": GIB,
        "recalled_bytes": 0,
        "state": LeaseState.MAPPED,
        "age_s": 12.0,
        "deadline_in_s": None,
    }
    return LeaseView(id=lease_id, **{**defaults, **fields})


def a_link(source: int, target: int, **fields: Any) -> LinkView:
    """A link in a snapshot."""
    defaults: dict[str, Any] = {"usable": True, "reason": "NVLink", "bytes_per_s": 8.0 * GIB}
    return LinkView(source=source, target=target, **{**defaults, **fields})


def all_links(gpus: int, **fields: Any) -> list[LinkView]:
    """Every link of a node of so many GPUs, to the host too."""
    ends = [-1, *range(gpus)]
    return [a_link(source, target, **fields) for source in ends for target in ends if source != target]


def a_snapshot(*models: ModelView, **fields: Any) -> Snapshot:
    """A snapshot of these models."""
    defaults: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "at": "2026-01-01T00:00:00Z",
        "version": "0.1.0",
        "run_id": "run",
        "pid": 4242,
        "driver": "emulated",
        "uptime_s": 185.0,
        "draining": False,
        "gpus": [a_gpu()],
        "prompts": [],
        "leases": [],
        "links": [],
        "last_event_seq": 0,
    }
    return Snapshot(models=list(models), **{**defaults, **fields})
