"""A worker from its first breath to its exit status."""

from __future__ import annotations

import faulthandler
import logging
import os
from pathlib import Path
from typing import NoReturn

import msgspec
import zmq

from aquahost.clock import Clock, SystemClock
from aquahost.config.settings import Kind
from aquahost.engines.engine import Engine
from aquahost.errors import LoadError
from aquahost.log_format import log_format
from aquahost.messages.wire import LoadFailed, Ready, Stop
from aquahost.worker.gpu_turns import turns_at
from aquahost.worker.heartbeat import HeartbeatThread, Pulse
from aquahost.worker.lifeline import leave_if_orphan, read_first_line
from aquahost.worker.link import DaemonLink
from aquahost.worker.load import LoadedModel, LoadReporter, load, memory_desk
from aquahost.worker.loop import WorkerLoop
from aquahost.worker.spec import LOAD_FAILED_STATUS, WorkerSpec, pulse_identity, voice_identity
from aquahost.worker.step_log import VARIABLE, StepLog

logger = logging.getLogger(__name__)

FAREWELL_S = 5.0
"""How long a worker that failed to load waits for the daemon's Stop, so that its reason is heard before its exit."""


def main() -> NoReturn:
    """Read the `WorkerSpec` from standard input, load, serve, exit.

    Status 0 after Stop, `LOAD_FAILED_STATUS` if the model cannot be loaded, 1 if the engine broke. Standard error is
    the worker's log.
    """
    spec = msgspec.json.decode(read_first_line(), type=WorkerSpec)
    leave_if_orphan(spec.parent_pid)
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(spec.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    faulthandler.enable()
    handler = logging.StreamHandler()
    text = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    handler.setFormatter(log_format(spec.log_format, text, model=spec.name, log_prompts=spec.log_prompts))
    logging.basicConfig(level=os.environ.get("AQUAHOST_LOG_LEVEL", "INFO").upper(), handlers=[handler])
    status = _serve(spec)
    logging.shutdown()
    # Not sys.exit: a pipeline's thread stuck in a library would keep the process, and its GPU memory, alive.
    os._exit(status)


def _serve(spec: WorkerSpec) -> int:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    link = DaemonLink(context, spec.endpoint, voice_identity(spec.worker_id))
    pulse = Pulse()
    heartbeat = HeartbeatThread(spec.endpoint, pulse_identity(spec.worker_id), pulse)
    heartbeat.start()
    clock = SystemClock()
    logger.info("loading %s on GPU %d (pid %d, %d torch threads)", spec.name, spec.gpu, os.getpid(), spec.threads)
    loaded = _load(spec, link, clock)
    if loaded is None:
        status = LOAD_FAILED_STATUS
    else:
        engine = loaded.engine
        turns = turns_at(spec.turns_path, clock, loaded.finish_work)
        link.send(Ready(engine.footprint))
        logger.info("%s is ready", spec.name)
        loop = WorkerLoop(engine, link, pulse, clock, turns)
        loop.step_log = _step_log(spec, engine)
        status = run_engine(engine, loop)
        if loop.step_log is not None:
            loop.step_log.close()
    link.close()
    context.term()
    return status


def _step_log(spec: WorkerSpec, engine: Engine) -> StepLog | None:
    folder = os.environ.get(VARIABLE)
    if not folder or spec.model.get("kind") != Kind.LLM:
        return None
    log = StepLog(Path(folder), spec.name)
    log.watch(engine)
    return log


def _load(spec: WorkerSpec, link: DaemonLink, clock: Clock) -> LoadedModel | None:
    """The model, or None once the daemon has been told why there is none."""
    try:
        return load(spec, memory_desk(spec, link, clock), LoadReporter(link, clock))
    except LoadError as error:
        reason = str(error)
        logger.error("%s cannot be loaded: %s", spec.name, reason)
    except Exception as error:  # whatever a model's own code raises: it would raise it again
        reason = f"{type(error).__name__}: {error}"
        logger.exception("loading %s failed", spec.name)
    link.send(LoadFailed(reason))
    deadline_s = FAREWELL_S
    while deadline_s > 0 and not any(isinstance(message, Stop) for message in link.receive(0.5)):
        deadline_s -= 0.5
    return None


def run_engine(engine: Engine, loop: WorkerLoop) -> int:
    """Serve until told to stop; returns the exit status: 1 if the engine broke, with the cause in the log."""
    try:
        loop.run()
        engine.close()
    except Exception:
        logger.exception("the engine broke")
        return 1
    logger.info("stopped")
    return 0
