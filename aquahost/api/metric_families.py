"""A snapshot and the lending figures as Prometheus' metric families. No prompt, tenant or key is in any of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from aquahost.messages.figures import LendingFigures
from aquahost.messages.snapshot import GpuView, ModelState, ModelView, Snapshot

_PARTS = ("weights", "kv", "work", "lent", "other", "free")
"""Of a GPU's memory; together they are all of it."""


class Figures:
    """One scrape: everything in it is of one instant."""

    def __init__(self, snapshot: Snapshot, lending: LendingFigures) -> None:
        self._snapshot, self._lending = snapshot, lending

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from _daemon(self._snapshot)
        yield from _gpus(self._snapshot.gpus)
        yield from _leases(self._snapshot, self._lending)
        yield from _models(self._snapshot.models)


def _daemon(snapshot: Snapshot) -> Iterator[Metric]:
    about = {"version": snapshot.version, "driver": snapshot.driver}
    yield InfoMetricFamily("aquahost", "The daemon; with driver=emulated no figure is a real GPU's.", value=about)
    yield GaugeMetricFamily("aquahost_uptime_seconds", "Since the daemon started.", value=snapshot.uptime_s)
    yield GaugeMetricFamily("aquahost_draining", "1 while new prompts are refused.", value=snapshot.draining)


def _gpus(gpus: list[GpuView]) -> Iterator[Metric]:
    memory = GaugeMetricFamily(
        "aquahost_gpu_memory_bytes", "What fills a GPU; its parts add up to all of it.", labels=["gpu", "part"]
    )
    borrowed = GaugeMetricFamily(
        "aquahost_gpu_borrowed_bytes", "Memory of other GPUs in use by the models that live here.", labels=["gpu"]
    )
    lost = GaugeMetricFamily("aquahost_gpu_lost", "1 once the GPU cannot be used any more.", labels=["gpu"])
    for gpu in gpus:
        label = str(gpu.index)
        for part in _PARTS:
            memory.add_metric([label, part], getattr(gpu, f"{part}_bytes"))
        borrowed.add_metric([label], gpu.borrowed_bytes)
        lost.add_metric([label], gpu.lost is not None)
    yield from (memory, borrowed, lost)


def _leases(snapshot: Snapshot, lending: LendingFigures) -> Iterator[Metric]:
    leases = GaugeMetricFamily("aquahost_leases", "Leases by state.", labels=["state"])
    for state, count in Counter(lease.state for lease in snapshot.leases).items():
        leases.add_metric([state.value], count)
    lent = GaugeMetricFamily(
        "aquahost_lent_bytes", "Memory of GPU `donor` in use by the model `borrower`.", labels=["donor", "borrower"]
    )
    for entry in lending.lent:
        lent.add_metric([str(entry.donor), entry.borrower], entry.nbytes)
    paged = CounterMetricFamily(
        "aquahost_paged_bytes", "Moved between local, peer and host memory.", labels=["from", "to"]
    )
    for moved in lending.paged:
        paged.add_metric([moved.source, moved.target], moved.nbytes)
    buckets = [(str(float(bucket.upper_s)), float(bucket.count)) for bucket in lending.recall_buckets]
    recalls = HistogramMetricFamily(
        "aquahost_recall_seconds",
        "From a donor's wish for its memory until the last byte of it is back.",
        buckets=[*buckets, ("+Inf", float(lending.recall_count))],
        sum_value=lending.recall_sum_s,
    )
    yield from (leases, lent, paged, recalls)


def _models(models: list[ModelView]) -> Iterator[Metric]:
    ready = GaugeMetricFamily("aquahost_model_ready", "1 while the model takes prompts.", labels=["model"])
    parked = GaugeMetricFamily("aquahost_model_parked", "1 while its weights are not on its GPU.", labels=["model"])
    queue = GaugeMetricFamily("aquahost_model_queue", "Live prompts, waiting and running.", labels=["model"])
    prompts = GaugeMetricFamily("aquahost_model_prompts", "Live prompts in the worker.", labels=["model", "state"])
    tokens = CounterMetricFamily("aquahost_output_tokens", "Since the model was loaded.", labels=["model"])
    host = GaugeMetricFamily(
        "aquahost_model_host_bytes", "Host memory that holds KV blocks or parked weights.", labels=["model"]
    )
    for model in models:
        ready.add_metric([model.name], model.state is ModelState.READY)
        queue.add_metric([model.name], model.queue)
        if (stats := model.stats) is None:
            continue
        parked.add_metric([model.name], bool(stats.parked))
        for state, count in (("waiting", stats.waiting), ("running", stats.running), ("suspended", stats.suspended)):
            prompts.add_metric([model.name, state], count)
        tokens.add_metric([model.name], stats.output_tokens)
        host.add_metric([model.name], stats.host_bytes)
    yield from (ready, parked, queue, prompts, tokens, host)
