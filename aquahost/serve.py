"""The composition root: settings, driver, daemon, API, HTTP server; one process, one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import gc
import logging
import math
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import uvicorn
import uvloop
from fastapi import FastAPI

from aquahost import __version__
from aquahost.api.app import build_app
from aquahost.api.batch_lines import BatchInput, written_line
from aquahost.api.bounded_protocol import BoundedHttpProtocol, bounded_protocol
from aquahost.api.connection_limits import ConnectionLimits
from aquahost.api.http_server import HttpServers, tls_context
from aquahost.api.job_requests import JobAnswers
from aquahost.api.rate_limits import RateLimits
from aquahost.clock import SystemClock
from aquahost.config import paths
from aquahost.config.settings import HostSettings, Settings
from aquahost.config.source import SettingsSource
from aquahost.daemon.daemon import Daemon
from aquahost.daemon.exposure import refuse_strangers
from aquahost.daemon.jobs.desk import JobDesk
from aquahost.daemon.journal import Journal
from aquahost.daemon.link_probe import probe_links
from aquahost.daemon.listeners import listen_tcp, listen_unix, notice_dead_clients
from aquahost.daemon.log_setup import logging_to
from aquahost.daemon.open_files import raise_open_files, room_for_connections
from aquahost.daemon.queue_bounds import jobs_at_once
from aquahost.daemon.run_folder import DaemonInfo, RunFolder
from aquahost.daemon.signals import Signals
from aquahost.daemon.tracing import PromptTraces
from aquahost.daemon.wall_time import utc_now
from aquahost.errors import StartError
from aquahost.keys.key_file import KeyFile
from aquahost.keys.keyring import Keyring
from aquahost.keys.last_used import LastUsed
from aquahost.profiler.gpu_names import EMULATED, sheet_name
from aquahost.profiler.known_steps import known_steps
from aquahost.scheduling.slicer import StepTimes
from aquahost.start_plan import planned_gpus
from aquahost.worker.spec import DriverSpec
from aquahost_cuda.check import DriverError
from aquahost_cuda.device import GpuMonitor
from aquahost_cuda.driver import (
    Driver,
    DriverUnavailableError,
    EmulatedNode,
    driver_name,
    load,
    why_not_cuda,
)

logger = logging.getLogger(__name__)

CLOSE_S = 3
"""How long HTTP connections may take to close once every prompt has ended."""

OnReady = Callable[[DaemonInfo], None]


def serve(settings: Settings, *, source: SettingsSource | None = None, on_ready: OnReady | None = None) -> int:
    """Run a daemon until it is asked to stop (by a signal or by the API); returns the exit status.

    `source` is where the settings came from, for reloads. `on_ready` is told once the API answers; the models may
    still be loading. Raises StartError, one line, if the daemon cannot start, and ConfigError if its keys cannot be
    read.
    """
    log_path, host = paths.log_file(None), settings.host
    with logging_to(log_path, host.log_format, log_prompts=host.log_prompts), contextlib.ExitStack() as stack:
        keyring = Keyring(settings, KeyFile(paths.keys_file()), LastUsed(paths.keys_used_dir()))
        refuse_strangers(host.listen, keyed=keyring.required)
        tls = tls_context(host.tls_cert, host.tls_key)
        folder = RunFolder.take(paths.runtime_dir())
        stack.callback(folder.close)
        socket_path = paths.socket_path()
        port = stack.enter_context(listen_tcp(settings.host.listen, settings.host.port))
        notice_dead_clients(port, settings.host.unread_timeout_s)
        listeners = (port, stack.enter_context(listen_unix(socket_path)))
        stack.callback(socket_path.unlink, missing_ok=True)
        driver, driver_spec = _open_driver(settings.host, folder.run_dir)
        monitor = stack.enter_context(contextlib.closing(_monitor(driver)))
        info = DaemonInfo(
            pid=os.getpid(),
            run_id=folder.run_dir.name,
            version=__version__,
            driver=driver_name(driver),
            host=settings.host.listen,
            port=listeners[0].getsockname()[1],
            scheme="http" if tls is None else "https",
            socket=str(socket_path),
            log=str(log_path),
            started_at=utc_now(),
        )

        def announce() -> None:
            folder.write_info(info)
            logger.info("listening on %s://%s:%d and on %s", info.scheme, info.host, info.port, socket_path)
            if on_ready is not None:
                on_ready(info)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(
                _run(
                    settings,
                    source,
                    folder.run_dir,
                    log_path.parent,
                    driver_spec,
                    monitor,
                    listeners,
                    tls,
                    keyring,
                    announce,
                )
            )
        return 0


async def _run(
    settings: Settings,
    source: SettingsSource | None,
    run_dir: Path,
    log_dir: Path,
    driver_spec: DriverSpec,
    monitor: GpuMonitor,
    listeners: tuple[socket.socket, socket.socket],
    tls: ssl.SSLContext | None,
    keyring: Keyring,
    announce: Callable[[], None],
) -> None:
    gpu_name, step_times = what_is_known(settings, driver_spec, monitor)
    clock = SystemClock()
    daemon = Daemon(
        settings,
        run_dir=run_dir,
        log_dir=log_dir,
        driver_name=driver_spec.choice,
        worker_driver=driver_spec,
        read_gpus=monitor.read,
        clock=clock,
        find_links=functools.partial(probe_links, driver_spec, paths.cache_dir() / "topology.json"),
        step_times=step_times,
        plan_gpus=functools.partial(planned_gpus, settings, gpu_name),
        keyring=keyring,
        source=source,
    )
    rates = RateLimits(settings.tenants, clock)
    jobs = _jobs(daemon, settings, rates)
    protocol = _protocol(settings.host)
    app = build_app(daemon, jobs, rates, protocol.cut)
    servers = HttpServers(functools.partial(_http_config, app, protocol, settings.host), *listeners, tls)
    traces = _traces(daemon, settings.host.otlp_endpoint)
    signals = Signals(daemon)
    signals.listen()
    journal = asyncio.create_task(Journal(paths.journal_file(), daemon.run_id).run(daemon.events(0)))
    await daemon.start()
    jobs.start()
    drain_s = 0.0
    try:
        await servers.begin(lambda: daemon.request_shutdown(0.0))
        announce()
        signals.serving()
        # What was imported lives as long as the process; the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        await daemon.shutdown_requested.wait()
        drain_s = math.inf  # whoever asked for the end has said how long
    finally:
        await jobs.stop_beginning()
        await daemon.stop(drain_s)
        await servers.end()
        await jobs.close()
        await journal
        if traces is not None:
            await asyncio.to_thread(traces.close)
    logger.info("stopped")


def _traces(daemon: Daemon, endpoint: str | None) -> PromptTraces | None:
    if endpoint is None:
        return None
    traces = PromptTraces.to(endpoint, SystemClock())
    daemon.tell_ended(traces.ended)
    return traces


def _jobs(daemon: Daemon, settings: Settings, rates: RateLimits) -> JobDesk:
    return JobDesk(
        paths.jobs_dir(),
        settings.jobs,
        execute=JobAnswers(daemon, rates),
        at_once=lambda model: jobs_at_once(daemon.settings, model),
        read_input=BatchInput(lambda: daemon.settings),
        write_line=written_line,
        clock=SystemClock(),
        faults=daemon.faults,
    )


def _protocol(host: HostSettings) -> type[BoundedHttpProtocol]:
    return bounded_protocol(ConnectionLimits.of(host, room_for_connections(host.max_connections, raise_open_files())))


def _http_config(app: FastAPI, protocol: type[BoundedHttpProtocol], host: HostSettings) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each form that is broken
    return uvicorn.Config(
        app,
        http=protocol,
        timeout_keep_alive=math.ceil(host.idle_timeout_s),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        # A client's X-Forwarded-For must not decide whom we take it for.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_S,
    )


def _open_driver(host: HostSettings, run_dir: Path) -> tuple[Driver, DriverSpec]:
    """The driver, and how workers load the same one. Warns when it is the emulated one. Raises StartError."""
    emulated = host.emulated
    node_dir = run_dir / "node"
    node_dir.mkdir(mode=0o700)
    node = EmulatedNode(path=str(node_dir), **emulated.model_dump())
    try:
        driver = load(host.driver, node, host.partition, str(run_dir / "parts"))
    except (DriverUnavailableError, DriverError, OSError, ValueError) as error:
        raise StartError(f"no GPU driver: {error}") from error
    if driver_name(driver) == "cuda":
        partition_path = str(run_dir / "parts") if host.partition > 1 else None
        return driver, DriverSpec(choice="cuda", partition=host.partition, partition_path=partition_path)
    because = why_not_cuda(driver)
    logger.warning(
        "EMULATED DRIVER: %d pretended GPUs, models run on the CPU%s",
        emulated.gpus,
        f" (CUDA is not available: {because})" if because else "",
    )
    return driver, DriverSpec(choice="emulated", node=dataclasses.asdict(node))


def what_is_known(
    settings: Settings, driver_spec: DriverSpec, monitor: GpuMonitor
) -> tuple[str, Mapping[str, StepTimes]]:
    """What profiles call the host's GPUs, and what models' steps take by them.

    That is mere advice: where it cannot be had, the name is "" (of which there are no profiles), and no step is known.
    """
    try:
        gpu_name = _gpu_name(driver_spec, monitor)
        return gpu_name, known_steps(settings, gpu_name)
    except Exception:  # whatever it is, the daemon must start
        logger.exception("profiles are not used")
        return "", {}


def _gpu_name(driver_spec: DriverSpec, monitor: GpuMonitor) -> str:
    """What profiles call the host's GPUs."""
    if driver_spec.choice == "emulated":
        return EMULATED
    readings = monitor.read()
    return sheet_name(readings[0].name, readings[0].total_bytes) if readings else ""


def _monitor(driver: Driver) -> GpuMonitor:
    try:
        return GpuMonitor(driver)
    except DriverError as error:
        raise StartError(f"the GPUs cannot be read: {error}") from error
