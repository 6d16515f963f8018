"""Everything that a daemon shows, at one instant."""

from __future__ import annotations

import os

from aquahost import __version__
from aquahost.daemon.event_log import EventLog
from aquahost.daemon.gpu_views import gpu_views
from aquahost.daemon.gpu_watch import GpuWatch
from aquahost.daemon.link_learning import LinkLearning
from aquahost.daemon.recent_work import flow_views
from aquahost.daemon.router import Router
from aquahost.daemon.supervisor import Supervisor
from aquahost.daemon.wall_time import utc_now
from aquahost.messages.snapshot import SCHEMA_VERSION, Snapshot


def snapshot_of(
    router: Router,
    supervisor: Supervisor,
    links: LinkLearning,
    gpus: GpuWatch,
    events: EventLog,
    now_s: float,
    *,
    run_id: str,
    driver: str,
    uptime_s: float,
    leasing: bool,
) -> Snapshot:
    """The snapshot of a daemon of these parts."""
    prompts = router.views(now_s)
    return Snapshot(
        schema_version=SCHEMA_VERSION,
        at=utc_now(),
        version=__version__,
        run_id=run_id,
        pid=os.getpid(),
        driver=driver,
        uptime_s=uptime_s,
        draining=router.refusal is not None,
        gpus=gpu_views(gpus.readings, router.models, supervisor.lending, now_s),
        models=[model.view(now_s) for model in router.models],
        prompts=prompts,
        leases=supervisor.lending.leases(),
        links=supervisor.lending.links(),
        flows=flow_views((model.recent for model in router.models), now_s),
        tenants=router.tenants.views(prompts),
        first_tokens=router.first_tokens.view(now_s),
        leasing=leasing,
        lending_trouble=links.trouble,
        last_event_seq=events.last_seq,
    )
