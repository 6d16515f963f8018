"""The ASGI application: all routes over one daemon."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from aquahost import __version__
from aquahost.api.audio import add_audio_routes
from aquahost.api.auth import Gatekeeper
from aquahost.api.batches import add_batch_routes
from aquahost.api.chat import add_chat_routes
from aquahost.api.completions import add_completion_routes
from aquahost.api.contract import Daemon
from aquahost.api.control import add_control_routes
from aquahost.api.errors import CANCELLED_STATUS, install_error_handlers
from aquahost.api.files import add_file_routes
from aquahost.api.front import Front
from aquahost.api.health import add_health_routes
from aquahost.api.host_guard import HostGuard
from aquahost.api.images import add_image_routes
from aquahost.api.job_routes import add_job_routes
from aquahost.api.media_store import MediaStore
from aquahost.api.metrics import add_metrics_route
from aquahost.api.models import add_model_routes
from aquahost.api.openapi import install_openapi
from aquahost.api.prompts import ClientGoneError
from aquahost.api.rate_limits import RateLimits
from aquahost.clock import SystemClock
from aquahost.daemon.jobs.desk import JobDesk

_TAGS = [
    {"name": "OpenAI", "description": "As OpenAI's API, with a few more fields. Errors have OpenAI's shape."},
    {"name": "Health"},
    {"name": "Control", "description": "On the daemon's Unix socket, or with an admin key."},
]


def build_app(
    daemon: Daemon,
    jobs: JobDesk | None = None,
    rates: RateLimits | None = None,
    cut: Mapping[str, int] | None = None,
) -> FastAPI:
    """The API over `daemon`, to be run by any number of listeners; owns nothing that needs closing.

    Without `jobs` there are no routes for jobs, files and batches. `rates`: what tenants may use in a minute, if others
    use of it, too. `cut`: connections that the listeners have ended, by why, for `/metrics`.
    """
    app = FastAPI(
        title="aquahost",
        version=__version__,
        description="One 8-GPU server as a responsive home for many generative models.",
        openapi_tags=_TAGS,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's tracing would wrap every message of every stream, and record what clients wrote
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    settings = daemon.settings
    front = Front(
        daemon=daemon,
        gate=Gatekeeper(settings, daemon.keyring),
        rates=rates if rates is not None else RateLimits(settings.tenants, SystemClock()),
        max_body_bytes=settings.host.max_body_bytes,
    )
    daemon.configuration.watchers.append(lambda changed: front.rates.use(changed.tenants))
    app.add_middleware(HostGuard, gate=front.gate)
    install_error_handlers(app)
    app.add_exception_handler(ClientGoneError, _answer_nobody)
    add_chat_routes(app, front)
    add_completion_routes(app, front)
    add_model_routes(app, front)
    add_image_routes(app, front, MediaStore(SystemClock()))
    add_audio_routes(app, front)
    add_health_routes(app, front)
    add_metrics_route(app, front, jobs, cut if cut is not None else {})
    add_control_routes(app, front)
    if jobs is not None:
        add_job_routes(app, front, jobs)
        add_file_routes(app, front, jobs)
        add_batch_routes(app, front, jobs)
    install_openapi(app)
    return app


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """The client left while it was sending; servers drop this reply."""
    return Response(status_code=CANCELLED_STATUS)
