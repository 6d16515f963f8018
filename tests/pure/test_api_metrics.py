"""/metrics: what Prometheus reads from a snapshot and the lending figures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from aquahost.api.metric_families import Figures
from aquahost.messages.figures import RECALL_BUCKETS_S, LendingFigures, Lent, RecallBucket
from aquahost.messages.snapshot import LeaseState, ModelState, Snapshot
from aquahost.messages.wire import EngineStats, Paged
from cli_harness import GIB, a_gpu, a_lease, a_model, a_prompt, a_snapshot

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

LENDING = LendingFigures(
    lent=[Lent(1, "chat", 3 * GIB), Lent(2, "chat", GIB), Lent(2, "org/other", 5)],
    paged=[Paged("local", "peer", 2**53), Paged("peer", "local", 7), Paged("local", "host", 0)],
    recall_buckets=[RecallBucket(0.05, 2), RecallBucket(1.0, 4)],
    recall_sum_s=3.5,
    recall_count=5,
)


def samples(snapshot: Snapshot, lending: LendingFigures) -> Samples:
    text = generate_latest(Figures(snapshot, lending)).decode()  # type: ignore[arg-type]
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset((key.rstrip("_"), text) for key, text in labels.items())]


def test_what_is_lent_paged_and_recalled() -> None:
    found = samples(a_snapshot(leases=[a_lease(1), a_lease(2), a_lease(3, state=LeaseState.RECALLING)]), LENDING)
    assert value(found, "aquahost_lent_bytes", donor="1", borrower="chat") == 3 * GIB
    assert value(found, "aquahost_lent_bytes", donor="2", borrower="org/other") == 5
    assert value(found, "aquahost_paged_bytes_total", from_="local", to="peer") == 2**53
    assert value(found, "aquahost_paged_bytes_total", from_="local", to="host") == 0
    assert value(found, "aquahost_leases", state="mapped") == 2
    assert value(found, "aquahost_leases", state="recalling") == 1
    buckets = {le: value(found, "aquahost_recall_seconds_bucket", le=le) for le in ("0.05", "1.0", "+Inf")}
    assert buckets == {"0.05": 2, "1.0": 4, "+Inf": 5}
    assert value(found, "aquahost_recall_seconds_sum") == 3.5
    assert value(found, "aquahost_recall_seconds_count") == 5


def test_the_parts_of_a_gpu_are_all_of_it() -> None:
    gpu = a_gpu(3, work_bytes=GIB, lent_bytes=2 * GIB, free_bytes=GIB, borrowed_bytes=9 * GIB, lost="gone")
    found = samples(a_snapshot(gpus=[gpu, a_gpu(4)]), LendingFigures())
    parts = {
        dict(labels)["part"]: number
        for (name, labels), number in found.items()
        if name == "aquahost_gpu_memory_bytes" and ("gpu", "3") in labels
    }
    assert sum(parts.values()) == gpu.total_bytes
    assert parts["lent"] == 2 * GIB
    assert value(found, "aquahost_gpu_borrowed_bytes", gpu="3") == 9 * GIB
    assert (value(found, "aquahost_gpu_lost", gpu="3"), value(found, "aquahost_gpu_lost", gpu="4")) == (1, 0)


def test_models_and_driver() -> None:
    stats = EngineStats(output_tokens=70, waiting=4, running=2, suspended=3, host_bytes=GIB, parked="host")
    models = [a_model("chat", queue=9, stats=stats), a_model("org/new", ModelState.LOADING)]
    found = samples(a_snapshot(*models, draining=True), LendingFigures())
    assert value(found, "aquahost_info", driver="emulated", version="0.1.0") == 1
    assert value(found, "aquahost_draining") == 1
    assert value(found, "aquahost_uptime_seconds") == 185
    assert [value(found, "aquahost_model_ready", model=model.name) for model in models] == [1, 0]
    assert [value(found, "aquahost_model_queue", model=model.name) for model in models] == [9, 0]
    assert value(found, "aquahost_output_tokens_total", model="chat") == 70
    assert value(found, "aquahost_model_parked", model="chat") == 1
    assert value(found, "aquahost_model_host_bytes", model="chat") == GIB
    states = ("waiting", "running", "suspended")
    assert [value(found, "aquahost_model_prompts", model="chat", state=state) for state in states] == [4, 2, 3]
    assert ("aquahost_output_tokens_total", frozenset({("model", "org/new")})) not in found


def test_nobody_and_nothing_said_is_in_it() -> None:
    model = a_model("chat", ModelState.FAILED, reason="it choked on: my secret")
    snapshot = a_snapshot(model, prompts=[a_prompt("the-id", tenant="the-tenant")])
    text = generate_latest(Figures(snapshot, LENDING)).decode()  # type: ignore[arg-type]
    for private in ("the-id", "the-tenant", "secret"):
        assert private not in text


def test_openmetrics_is_well_formed() -> None:
    """Its parser is strict: order, duplicates, and buckets that do not rise are errors."""
    snapshot = a_snapshot(a_model(), gpus=[a_gpu(0), a_gpu(1)], leases=[a_lease()])
    text = openmetrics(Figures(snapshot, LENDING)).decode()  # type: ignore[arg-type]
    families = {family.name: family for family in parse_openmetrics(text)}
    assert families["aquahost_recall_seconds"].type == "histogram"
    assert families["aquahost_paged_bytes"].type == "counter"
    assert all(family.documentation for family in families.values())


def test_the_buckets_to_use_rise() -> None:
    assert list(RECALL_BUCKETS_S) == sorted(set(RECALL_BUCKETS_S))


HUGE = st.integers(0, 2**80)
HOSTILE = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(
    st.dictionaries(st.tuples(st.integers(-1, 2**31), HOSTILE), HUGE, max_size=4),
    st.dictionaries(st.tuples(HOSTILE, HOSTILE), HUGE, max_size=4),
    HOSTILE,
    HUGE,
)
def test_any_name_and_any_number_comes_back(
    lent: dict[tuple[int, str], int], paged: dict[tuple[str, str], int], name: str, size: int
) -> None:
    lending = LendingFigures(
        lent=[Lent(*pair, nbytes) for pair, nbytes in lent.items()],
        paged=[Paged(*pair, nbytes) for pair, nbytes in paged.items()],
    )
    found = samples(a_snapshot(a_model(name, queue=size), gpus=[a_gpu(name=name, free_bytes=size)]), lending)
    assert value(found, "aquahost_model_queue", model=name) == float(size)
    for (donor, borrower), nbytes in lent.items():
        assert value(found, "aquahost_lent_bytes", donor=str(donor), borrower=borrower) == float(nbytes)
    for (source, target), nbytes in paged.items():
        assert value(found, "aquahost_paged_bytes_total", from_=source, to=target) == float(nbytes)
