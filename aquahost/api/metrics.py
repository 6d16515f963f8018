"""GET /metrics: the daemon's figures for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.front import Front
from aquahost.api.metric_families import Figures
from aquahost.daemon.jobs.desk import JobDesk
from aquahost.errors import StorageError
from aquahost.messages.figures import ServingFigures

COUNTING_S = 1.0
"""How long jobs may take to be counted."""


def add_metrics_route(app: FastAPI, front: Front, desk: JobDesk | None, cut: Mapping[str, int]) -> None:
    """Add the route to `app`. On this machine it needs no key; from elsewhere a tenant's or the admin's."""

    async def jobs() -> dict[str, int]:
        try:
            return await asyncio.wait_for(desk.counts(), COUNTING_S) if desk is not None else {}
        except (StorageError, TimeoutError):  # the disk's trouble must not hide all other figures
            return {}

    async def metrics(request: Request) -> Response:
        """GPUs, leases, paging, queues, waits, jobs and refusals in Prometheus' text format, or in OpenMetrics if asked
        for."""
        front.gate.require_watcher(request.scope)
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        daemon = front.daemon
        serving = ServingFigures(jobs=await jobs(), limited=dict(front.rates.limited), cut=dict(cut))
        figures = Figures(daemon.snapshot(), daemon.lending_figures(), daemon.prompt_figures(), serving)
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
