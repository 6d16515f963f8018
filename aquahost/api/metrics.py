"""GET /metrics: the daemon's figures for Prometheus."""

from __future__ import annotations

from typing import cast

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.front import Front
from aquahost.api.metric_families import Figures


def add_metrics_route(app: FastAPI, front: Front) -> None:
    """Add the route to `app`. On this machine it needs no key; from elsewhere a tenant's or the admin's."""

    async def metrics(request: Request) -> Response:
        """GPUs, leases, paging, queues, waits and refusals in Prometheus' text format, or in OpenMetrics if asked
        for."""
        front.gate.require_watcher(request.scope)
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        daemon = front.daemon
        figures = Figures(daemon.snapshot(), daemon.lending_figures(), daemon.prompt_figures())
        # All that an encoder asks of a registry is to collect; a real one would hold figures between two scrapes.
        return Response(encode(cast("CollectorRegistry", figures)), headers={"content-type": media_type})

    app.add_api_route(
        "/metrics",
        metrics,
        methods=["GET"],
        tags=["Health"],
        response_class=Response,
        response_model=None,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
