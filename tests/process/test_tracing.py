"""Traces of prompts: what the spans say, and that a collector gets them over OTLP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aquahost.clock import VirtualClock
from aquahost.daemon.live_prompt import LivePrompt
from aquahost.daemon.prompt_stream import PromptStream
from aquahost.daemon.tracing import PromptTraces
from aquahost.messages.prompts import (
    Accepted,
    FinishReason,
    Prompt,
    PromptState,
    Sampling,
    StateChanged,
    TextRequest,
    Tokens,
)
from daemon_fixtures import served_daemon, toy, wait_until

SECRET = "what nobody may read"


def prompt(clock: VirtualClock) -> LivePrompt:
    request = TextRequest(text=SECRET, sampling=Sampling(max_tokens=5))
    made = Prompt(id="abc", model="chat", tenant="red", request=request, created_s=clock.now_s())
    return LivePrompt(made, PromptStream("abc", lambda _: None, queue_length=1))


def spans_of(clock: VirtualClock, live: LivePrompt, reason: FinishReason) -> dict[str, ReadableSpan]:
    exporter = InMemorySpanExporter()
    traces = PromptTraces(SimpleSpanProcessor(exporter), clock)
    traces.ended(live, reason)
    traces.close()
    return {span.name: span for span in exporter.get_finished_spans()}


def length_s(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return round((span.end_time - span.start_time) / 1e9, 3)


def test_a_prompt_is_one_span_with_its_phases_within() -> None:
    clock = VirtualClock(50.0)
    live = prompt(clock)
    for after_s, output in (
        (1.0, Accepted("abc", 7, None)),
        (1.0, StateChanged("abc", PromptState.PREFILLING)),
        (3.0, Tokens("abc", SECRET, [1, 2])),
        (4.0, StateChanged("abc", PromptState.SUSPENDED)),
        (1.0, Tokens("abc", SECRET, [3])),
    ):
        clock.advance(after_s)
        live.note(output, clock.now_s())
    spans = spans_of(clock, live, FinishReason.LENGTH)
    whole = spans.pop("prompt chat")
    assert {name: length_s(span) for name, span in spans.items()} == {"queued": 2.0, "prefill": 3.0, "decode": 5.0}
    assert length_s(whole) == 10.0
    assert whole.parent is None
    assert {span.parent.span_id for span in spans.values() if span.parent} == {whole.context.span_id}
    assert whole.attributes is not None
    assert whole.attributes["aquahost.prompt_id"] == "abc"
    assert whole.attributes["gen_ai.usage.output_tokens"] == 3
    assert whole.attributes["aquahost.finish_reason"] == "length"
    assert whole.status.is_ok or whole.status.is_unset
    assert SECRET not in whole.to_json() + "".join(span.to_json() for span in spans.values())


def test_a_prompt_that_never_began_only_waited() -> None:
    clock = VirtualClock()
    live = prompt(clock)
    clock.advance(2.0)
    spans = spans_of(clock, live, FinishReason.ERROR)
    assert {name: length_s(span) for name, span in spans.items()} == {"prompt chat": 2.0, "queued": 2.0}
    assert not spans["prompt chat"].status.is_ok
    assert not spans["prompt chat"].status.is_unset


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """An OTLP collector: its address, and what it was sent."""
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", got
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("answers", [True, False], ids=["collector", "no collector"])
def test_a_daemon_sends_its_spans_before_it_ends(tmp_path_factory: pytest.TempPathFactory, answers: bool) -> None:
    places: Path = tmp_path_factory.mktemp("t")
    with collector() as (url, got):
        endpoint = url if answers else "http://127.0.0.1:1/v1/traces"
        with (
            served_daemon(places, {"chat": toy()}, otlp_endpoint=endpoint) as daemon,
            httpx.Client(base_url=f"http://127.0.0.1:{daemon.info.port}", trust_env=False) as client,
        ):
            wait_until(lambda: client.get("/readyz").status_code == 200)
            body = {"model": "chat", "max_tokens": 3, "messages": [{"role": "user", "content": SECRET}]}
            assert client.post("/v1/chat/completions", json=body).status_code == 200
            daemon.process.terminate()
            assert daemon.process.wait(timeout=20) == 0
    if answers:
        sent = ExportTraceServiceRequest.FromString(b"".join(got))
        names = [span.name for one in sent.resource_spans for scope in one.scope_spans for span in scope.spans]
        assert {"prompt chat", "queued", "prefill", "decode"} <= set(names)
        assert SECRET.encode() not in b"".join(got)
