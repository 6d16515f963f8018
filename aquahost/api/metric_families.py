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

from aquahost.messages.figures import Durations, LendingFigures, PromptFigures, ServingFigures
from aquahost.messages.snapshot import GpuView, ModelState, ModelView, Snapshot

_PARTS = ("weights", "kv", "work", "lent", "other", "free")
"""Of a GPU's memory; together they are all of it."""


class Figures:
    """One scrape: everything in it is of one instant."""

    def __init__(
        self,
        snapshot: Snapshot,
        lending: LendingFigures,
        prompts: PromptFigures | None = None,
        serving: ServingFigures | None = None,
    ) -> None:
        self._snapshot, self._lending = snapshot, lending
        self._prompts, self._serving = prompts or PromptFigures(), serving or ServingFigures()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from _daemon(self._snapshot)
        yield from _gpus(self._snapshot.gpus)
        yield from _leases(self._snapshot, self._lending)
        yield from _models(self._snapshot.models)
        yield from _prompts(self._prompts)
        yield from _waits(self._prompts)
        yield from _serving(self._serving)


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
    busy = GaugeMetricFamily(
        "aquahost_gpu_utilisation", "Share of the last second in which one of its models computed.", labels=["gpu"]
    )
    for gpu in gpus:
        label = str(gpu.index)
        for part in _PARTS:
            memory.add_metric([label, part], getattr(gpu, f"{part}_bytes"))
        borrowed.add_metric([label], gpu.borrowed_bytes)
        lost.add_metric([label], gpu.lost is not None)
        if gpu.utilisation is not None:
            busy.add_metric([label], gpu.utilisation)
    yield from (memory, borrowed, lost, busy)


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
    restarts = CounterMetricFamily("aquahost_worker_restarts", "After its worker had died.", labels=["model"])
    steps = CounterMetricFamily(
        "aquahost_model_busy_seconds", "Device time of all steps since the model was loaded.", labels=["model"]
    )
    failed = GaugeMetricFamily("aquahost_model_failed", "1 while it is given up.", labels=["model"])
    for model in models:
        restarts.add_metric([model.name], model.restarts)
        failed.add_metric([model.name], model.state is ModelState.FAILED)
        ready.add_metric([model.name], model.state is ModelState.READY)
        queue.add_metric([model.name], model.queue)
        if (stats := model.stats) is None:
            continue
        parked.add_metric([model.name], bool(stats.parked))
        for state, count in (("waiting", stats.waiting), ("running", stats.running), ("suspended", stats.suspended)):
            prompts.add_metric([model.name, state], count)
        tokens.add_metric([model.name], stats.output_tokens)
        steps.add_metric([model.name], stats.busy_s)
        host.add_metric([model.name], stats.host_bytes)
    yield from (ready, failed, parked, queue, prompts, tokens, steps, host, restarts)


def _prompts(figures: PromptFigures) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "aquahost_prompts_ended",
        "Since the daemon started: stop, length, cancelled or error.",
        labels=["model", "reason"],
    )
    refused = CounterMetricFamily(
        "aquahost_prompts_refused",
        "With this HTTP status: 429 for a full queue, 503 for a model that is not ready; no model for an unknown name.",
        labels=["model", "status"],
    )
    taken_in = CounterMetricFamily("aquahost_input_tokens", "Of prompts that have ended.", labels=["model"])
    put_out = CounterMetricFamily("aquahost_produced_tokens", "Since the daemon started.", labels=["model"])
    for model in figures.models:
        for end in model.ended:
            ended.add_metric([model.model, end.reason.value], end.count)
        taken_in.add_metric([model.model], model.input_tokens)
        put_out.add_metric([model.model], model.output_tokens)
    for one in figures.refused:
        refused.add_metric([one.model, str(one.status)], one.count)
    yield from (ended, refused, taken_in, put_out)


def _waits(figures: PromptFigures) -> Iterator[Metric]:
    first = HistogramMetricFamily(
        "aquahost_first_token_seconds", "From a prompt's arrival to its first token or step.", labels=["model"]
    )
    between = HistogramMetricFamily(
        "aquahost_between_tokens_seconds", "Between two tokens of a prompt.", labels=["model"]
    )
    whole = HistogramMetricFamily(
        "aquahost_prompt_seconds", "From a prompt's arrival to its end, however it ended.", labels=["model"]
    )
    for model in figures.models:
        for family, durations in ((first, model.first_token), (between, model.between_tokens), (whole, model.whole)):
            family.add_metric([model.model], _buckets(durations), durations.sum_s)
    yield from (first, between, whole)


def _serving(figures: ServingFigures) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "aquahost_jobs", "Durable jobs, those that have ended and are kept included.", labels=["state"]
    )
    for state, count in figures.jobs.items():
        jobs.add_metric([state], count)
    limited = CounterMetricFamily(
        "aquahost_rate_limited", "Requests refused, and jobs put off, by their tenants' limits.", labels=["of"]
    )
    for what, count in figures.limited.items():
        limited.add_metric([what], count)
    cut = CounterMetricFamily(
        "aquahost_connections_cut", "Ended for what their clients did, or because there were too many.", labels=["why"]
    )
    for why, count in figures.cut.items():
        cut.add_metric([why], count)
    yield from (jobs, limited, cut)


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    upto = [(str(float(bucket.upper_s)), float(bucket.count)) for bucket in durations.buckets]
    return [*upto, ("+Inf", float(durations.count))]
