"""OpenTelemetry traces: one span for each prompt, told when it has ended, with its waiting, prefill and decoding."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from aquahost import __version__
from aquahost.clock import Clock
from aquahost.daemon.live_prompt import LivePrompt
from aquahost.errors import StartError
from aquahost.messages.prompts import FinishReason

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

SENDING_S = 2.0
"""How long a batch of spans may take, retries included; the daemon's end waits for the last one."""


class PromptTraces:
    """Sends spans from a thread of its own; what a collector does not take in time is dropped, and prompts never wait.

    A span holds names, counts and times, never what a prompt or its reply says.
    """

    def __init__(self, processor: SpanProcessor, clock: Clock) -> None:
        """`processor` takes the spans; `clock` is the one that prompts are timed by."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        resource = Resource.create({"service.name": "aquahost", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("aquahost")
        self._clock = clock

    @classmethod
    def to(cls, endpoint: str, clock: Clock) -> PromptTraces:
        """Spans go to a collector that takes OTLP over HTTP. Raises StartError without aquahost[otel]."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise StartError("host.otlp_endpoint needs OpenTelemetry: pip install 'aquahost[otel]'") from error
        # One line for a batch that is lost is enough, without one for each try.
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=SENDING_S)), clock)

    def ended(self, live: LivePrompt, reason: FinishReason) -> None:
        """A prompt has ended, just now."""
        from opentelemetry import trace

        now_s, wall_ns = self._clock.now_s(), time.time_ns()

        def at_ns(moment_s: float) -> int:
            return wall_ns - round((now_s - moment_s) * 1e9)

        view = live.view(now_s)
        attributes: dict[str, str | int | float] = {
            "gen_ai.request.model": view.model,
            "gen_ai.usage.input_tokens": view.input_tokens,
            "gen_ai.usage.output_tokens": view.output_tokens,
            "aquahost.prompt_id": view.id,
            "aquahost.tenant": view.tenant,
            "aquahost.kind": view.kind,
            "aquahost.finish_reason": reason.value,
            "aquahost.interruptions": view.interruptions,
            "aquahost.service_s": view.service_s,
        }
        span = self._tracer.start_span(
            f"prompt {view.model}",
            trace.set_span_in_context(trace.INVALID_SPAN),
            trace.SpanKind.SERVER,
            attributes,
            start_time=at_ns(live.created_s),
        )
        if reason is FinishReason.ERROR:
            span.set_status(trace.StatusCode.ERROR)
        within = trace.set_span_in_context(span)
        for name, begun_s, ended_s in _phases(live, now_s):
            part = self._tracer.start_span(name, within, start_time=at_ns(begun_s))
            part.end(at_ns(ended_s))
        span.end(at_ns(now_s))

    def close(self) -> None:
        """Send what is left; blocks for as long as a batch may take."""
        self._provider.shutdown()


def _phases(live: LivePrompt, now_s: float) -> list[tuple[str, float, float]]:
    """What a prompt's life consisted of, as far as it came: name, begin and end."""
    first_s = live.created_s + live.first_s if live.first_s is not None else None
    begun_s = live.begun_s if live.begun_s is not None else first_s
    phases = [("queued", live.created_s, now_s if begun_s is None else begun_s)]
    if begun_s is not None:
        phases.append(("prefill", begun_s, now_s if first_s is None else first_s))
    if first_s is not None:
        phases.append(("decode", first_s, now_s))
    return phases
