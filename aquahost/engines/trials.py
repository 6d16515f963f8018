"""Requests that a gated model runs at its load, to learn how much memory they take."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from aquahost.engines.device import EngineDevice
from aquahost.engines.engine import ReportProgress
from aquahost.engines.failures import is_out_of_memory
from aquahost.engines.gated_model import GatedModel, Job, Trial
from aquahost.engines.memory_curve import Measured, MemoryCurve
from aquahost.engines.memory_desk import Part
from aquahost.engines.peak_memory import measuring
from aquahost.engines.random_state import RandomState
from aquahost.errors import LoadError, RequestError
from aquahost.messages.wire import LoadProgress
from aquahost.units import GIB, format_bytes

logger = logging.getLogger(__name__)

CPU_BUDGET_S = 1.5
GPU_BUDGET_S = 20.0
"""Enough for the largest image at two steps; of a sound that is made token by token it is a part."""
_FIRST_CLAIM_BYTES = GIB
_CLAIM_MARGIN = 1.25
_SURE_TRIALS = 2


def measure_memory(model: GatedModel, device: EngineDevice, report: ReportProgress) -> MemoryCurve:
    """Run the model's trials, smallest first, for as long as a load may take.

    What is larger than fits in that time, or on the GPU, is told from the growth of the last two, and the log says so.
    Raises LoadError if the model fails for any other reason than memory: it could serve nobody.
    """
    budget_s = CPU_BUDGET_S if device.is_emulated else GPU_BUDGET_S
    clock = device.desk.clock
    trials = model.trials()
    begin_s = clock.now_s()
    measured: list[Measured] = []
    last_s = 0.0
    for number, trial in enumerate(trials):
        report(LoadProgress("measuring memory", number, len(trials), "steps"))
        job = _prepared(model, trial)
        start_s = clock.now_s()
        if number >= _SURE_TRIALS:
            expected_s = last_s * job.size / measured[-1].size
            if start_s + expected_s - begin_s > budget_s:
                logger.info("%s would take %.1f s; its memory is told from smaller ones", trial.name, expected_s)
                break
        try:
            _claim_room(device, measured, job, trial)
            measured.append(_run(model, job, trial))
        except _TrialNeedsMoreMemory as error:
            logger.warning("%s is more than the GPU's memory holds: %s", trial.name, error)
            break
        last_s = clock.now_s() - start_s
        logger.info("%s takes up to %s beyond the weights", trial.name, format_bytes(measured[-1].peak_bytes))
    if not device.is_emulated:
        torch.cuda.empty_cache()
    device.desk.claim(Part.WORK, 0)
    report(LoadProgress("measuring memory", len(trials), len(trials), "steps"))
    return MemoryCurve(measured)


class _TrialNeedsMoreMemory(Exception):  # noqa: N818 an outcome, not a mistake
    """There is not enough memory for a trial."""


def _prepared(model: GatedModel, trial: Trial) -> Job:
    try:
        return model.prepare(trial.request)
    except Exception as error:
        raise _failure(trial, error) from error


def _claim_room(device: EngineDevice, measured: Sequence[Measured], job: Job, trial: Trial) -> None:
    """Have the memory that the trial is going to take; on the emulated driver it takes none of the GPU's."""
    if device.is_emulated:
        return
    expected = round(MemoryCurve(measured).needed_bytes([job.size]) * _CLAIM_MARGIN) if measured else _FIRST_CLAIM_BYTES
    try:
        device.desk.require(Part.WORK, expected, trial.name)
    except LoadError as error:
        raise _TrialNeedsMoreMemory(str(error)) from error


def _run(model: GatedModel, job: Job, trial: Trial) -> Measured:
    held_bytes = 0

    def arrive(step: int, steps: int) -> None:
        nonlocal held_bytes
        held_bytes = max(held_bytes, meter.alive_bytes())

    try:
        with RandomState(model.torch_device, job.seed).turn(), measuring(model.torch_device) as meter:
            job.work(arrive)
    except RequestError as error:
        if error.code != "content_policy_violation":  # what a safety checker sees in noise is no failure
            raise _failure(trial, error) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise _TrialNeedsMoreMemory(str(error)) from error
        raise _failure(trial, error) from error
    return Measured(size=job.size, peak_bytes=meter.peak_bytes(), held_bytes=held_bytes)


def _failure(trial: Trial, error: Exception) -> LoadError:
    return LoadError(f"the model fails on a trial of {trial.name}: {type(error).__name__}: {error}")
