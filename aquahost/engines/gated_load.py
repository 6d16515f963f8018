"""The last part of an image or audio model's load: what it needs beside its weights, and its engine."""

from __future__ import annotations

import logging

import msgspec

from aquahost.config.settings import ModelSettings, SchedulerSettings
from aquahost.engines.device import EngineDevice
from aquahost.engines.engine import ReportProgress
from aquahost.engines.gated import GatedEngine
from aquahost.engines.gated_model import GatedModel
from aquahost.engines.memory_curve import MemoryCurve
from aquahost.engines.trials import measure_memory
from aquahost.messages.wire import Footprint
from aquahost.units import format_bytes

logger = logging.getLogger(__name__)


def serve(
    model: GatedModel,
    settings: ModelSettings,
    scheduler: SchedulerSettings,
    device: EngineDevice,
    report: ReportProgress,
) -> GatedEngine:
    """The engine of a model whose weights are placed. Raises LoadError if it fails at what it is to make."""
    device.end_load()
    curve = measure_memory(model, device, report)
    footprint = _footprint(model, curve, settings.max_concurrent, device.claimable_bytes())
    return GatedEngine(
        model,
        device,
        curve,
        footprint,
        policy=settings.policy or scheduler.policy,
        max_begun=settings.max_concurrent,
        pin=settings.pin,
    )


def _footprint(model: GatedModel, curve: MemoryCurve, max_begun: int, room_bytes: int) -> Footprint:
    """The model's, with the memory that it needs at the most, but no more than its GPU can give it."""
    sizes = {model.prepare(trial.request).size: trial.name for trial in model.trials()}
    largest = max(sizes)
    alone_bytes = curve.needed_bytes([largest])
    peak_bytes = curve.needed_bytes([largest] * max_begun)
    logger.info(
        "%s takes up to %s, %d at once up to %s beyond the weights",
        sizes[largest], format_bytes(alone_bytes), max_begun, format_bytes(peak_bytes),
    )  # fmt: skip
    if alone_bytes > room_bytes:
        fits = curve.largest_within(room_bytes, list(sizes))
        logger.warning(
            "%s would take %s, of which the GPU has %s; %s",
            sizes[largest], format_bytes(alone_bytes), format_bytes(room_bytes),
            f"about {sizes[fits]} fit" if fits is not None else "not even the smallest fits",
        )  # fmt: skip
    return msgspec.structs.replace(model.footprint, peak_bytes=min(peak_bytes, room_bytes))
