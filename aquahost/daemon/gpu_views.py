"""What a snapshot shows of a GPU's memory: parts that add up to the total."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aquahost.daemon.gpu_watch import GpuReading
from aquahost.daemon.hosted_model import HostedModel
from aquahost.daemon.lending import Lending
from aquahost.messages.snapshot import GpuView


def gpu_views(
    readings: Sequence[GpuReading], models: Iterable[HostedModel], lending: Lending, now_s: float
) -> list[GpuView]:
    """One view of each GPU.

    Workers' figures and leases are newer than the readings, so free memory is what is left of the total; whatever would
    exceed it is cut, the last parts first.
    """
    hosted: dict[int, list[HostedModel]] = {}
    for model in models:
        if model.gpu is not None:
            hosted.setdefault(model.gpu, []).append(model)
    return [_view(reading, hosted.get(reading.index, []), lending, now_s) for reading in readings]


def _view(reading: GpuReading, models: list[HostedModel], lending: Lending, now_s: float) -> GpuView:
    left_bytes = reading.total_bytes

    def part(nbytes: int) -> int:
        nonlocal left_bytes
        taken = min(nbytes, left_bytes)
        left_bytes -= taken
        return taken

    weights_bytes = part(sum(_weights_bytes(model, lending) for model in models))
    kv_bytes = part(sum(model.stats.kv_bytes for model in models if model.stats is not None))
    work_bytes = part(sum(model.stats.work_bytes for model in models if model.stats is not None))
    lent_bytes = part(lending.lent_bytes(reading.index))
    lost = reading.lost or lending.lost(reading.index)
    # Of a lost GPU nothing can be had.
    other_bytes = part(reading.total_bytes if lost is not None else lending.other_bytes(reading.index))
    return GpuView(
        index=reading.index,
        uuid=reading.uuid,
        name=reading.name,
        total_bytes=reading.total_bytes,
        free_bytes=left_bytes,
        weights_bytes=weights_bytes,
        kv_bytes=kv_bytes,
        work_bytes=work_bytes,
        lent_bytes=lent_bytes,
        borrowed_bytes=lending.borrowed_bytes(reading.index),
        other_bytes=other_bytes,
        models=[model.name for model in models],
        utilisation=_utilisation(models, now_s),
        lost=lost,
    )


def _utilisation(models: list[HostedModel], now_s: float) -> float | None:
    """They compute in turn, so their shares add up."""
    shares = [model.recent.busy_share(now_s) for model in models if model.stats is not None]
    return min(1.0, sum(shares)) if shares else None


def _weights_bytes(model: HostedModel, lending: Lending) -> int:
    """Of a model that loads, all that it holds: it does not say what for."""
    return model.stats.weights_bytes if model.stats is not None else lending.held_bytes(model)
