"""The composition root: settings, driver, daemon, API, HTTP server; one process, one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import gc
import ipaddress
import logging
import math
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import uvicorn
import uvloop

from aquahost import __version__
from aquahost.api.app import build_app
from aquahost.api.batch_lines import BatchInput, written_line
from aquahost.api.http_protocol import ApiHttpProtocol
from aquahost.api.job_requests import JobAnswers
from aquahost.clock import SystemClock
from aquahost.config import paths
from aquahost.config.settings import HostSettings, Settings
from aquahost.daemon.daemon import Daemon
from aquahost.daemon.jobs.desk import JobDesk
from aquahost.daemon.link_probe import probe_links
from aquahost.daemon.listeners import listen_tcp, listen_unix
from aquahost.daemon.log_setup import logging_to
from aquahost.daemon.run_folder import DaemonInfo, RunFolder
from aquahost.daemon.wall_time import utc_now
from aquahost.errors import StartError
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

DRAIN_S = 30.0
"""How long live prompts may go on after the first SIGTERM or Ctrl-C; the second ends them at once."""
CLOSE_S = 3
"""How long HTTP connections may take to close once every prompt has ended."""

OnReady = Callable[[DaemonInfo], None]


def serve(settings: Settings, *, on_ready: OnReady | None = None) -> int:
    """Run a daemon until it is asked to stop (by a signal or by the API); returns the exit status.

    `on_ready` is told once the API answers; the models may still be loading. Raises StartError, one line, if the
    daemon cannot start.
    """
    log_path = paths.log_file(None)
    with logging_to(log_path), contextlib.ExitStack() as stack:
        folder = RunFolder.take(paths.runtime_dir())
        stack.callback(folder.close)
        socket_path = paths.socket_path()
        listeners = [stack.enter_context(listen_tcp(settings.host.listen, settings.host.port))]
        listeners.append(stack.enter_context(listen_unix(socket_path)))
        stack.callback(socket_path.unlink, missing_ok=True)
        warn_of_strangers(settings)
        driver, driver_spec = _open_driver(settings.host, folder.run_dir)
        monitor = stack.enter_context(contextlib.closing(_monitor(driver)))
        info = DaemonInfo(
            pid=os.getpid(),
            run_id=folder.run_dir.name,
            version=__version__,
            driver=driver_name(driver),
            host=settings.host.listen,
            port=listeners[0].getsockname()[1],
            socket=str(socket_path),
            log=str(log_path),
            started_at=utc_now(),
        )

        def announce() -> None:
            folder.write_info(info)
            logger.info("listening on http://%s:%d and on %s", info.host, info.port, socket_path)
            if on_ready is not None:
                on_ready(info)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings, folder.run_dir, log_path.parent, driver_spec, monitor, listeners, announce))
        return 0


def warn_of_strangers(settings: Settings) -> None:
    """Warn, loudly, of an API that others can reach and that asks nobody for a key."""
    host = settings.host.listen
    try:
        private = ipaddress.ip_address(host).is_loopback
    except ValueError:
        private = host == "localhost"
    if not private and not settings.tenants:
        logger.warning(
            "ANYONE WHO REACHES %s CAN USE EVERY MODEL: host.listen is not loopback and there are no tenants, so no "
            "key is asked for; name tenants in models.yaml, or listen on 127.0.0.1",
            host,
        )


async def _run(
    settings: Settings,
    run_dir: Path,
    log_dir: Path,
    driver_spec: DriverSpec,
    monitor: GpuMonitor,
    listeners: list[socket.socket],
    announce: Callable[[], None],
) -> None:
    gpu_name, step_times = what_is_known(settings, driver_spec, monitor)
    daemon = Daemon(
        settings,
        run_dir=run_dir,
        log_dir=log_dir,
        driver_name=driver_spec.choice,
        worker_driver=driver_spec,
        read_gpus=monitor.read,
        clock=SystemClock(),
        find_links=functools.partial(probe_links, driver_spec, paths.cache_dir() / "topology.json"),
        step_times=step_times,
        plan_gpus=functools.partial(planned_gpus, settings, gpu_name),
    )
    jobs = JobDesk(
        paths.jobs_dir(),
        settings.jobs,
        execute=JobAnswers(daemon),
        read_input=BatchInput(settings),
        write_line=written_line,
        clock=SystemClock(),
        faults=daemon.faults,
    )
    server = _HttpServer(_http_config(daemon, jobs))
    _stop_on_signals(daemon)
    await daemon.start()
    jobs.start()
    serving = asyncio.create_task(server.serve(sockets=listeners))
    serving.add_done_callback(lambda _: daemon.request_shutdown(0.0))
    drain_s = 0.0
    try:
        await server.begun.wait()
        announce()
        # What was imported lives as long as the process; the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        await daemon.shutdown_requested.wait()
        drain_s = math.inf  # whoever asked for the end has said how long
    finally:
        await jobs.stop_beginning()
        await daemon.stop(drain_s)
        server.should_exit = True
        await serving
        await jobs.close()
    logger.info("stopped")


class _HttpServer(uvicorn.Server):
    """uvicorn that leaves signals to us and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: they drain the daemon first."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        try:
            await super().startup(sockets)
        finally:
            self.begun.set()


def _http_config(daemon: Daemon, jobs: JobDesk) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each form that is broken
    return uvicorn.Config(
        build_app(daemon, jobs),
        http=ApiHttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        # A client's X-Forwarded-For must not decide whom we take it for.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_S,
    )


def _stop_on_signals(daemon: Daemon) -> None:
    """The first signal drains, the second one ends."""

    def stop() -> None:
        again = daemon.shutdown_requested.is_set()
        logger.info("stopping now" if again else f"stopping; live prompts have {DRAIN_S:.0f} s to end")
        daemon.request_shutdown(0.0 if again else DRAIN_S)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            asyncio.get_running_loop().add_signal_handler(number, stop)


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
