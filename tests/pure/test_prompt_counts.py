"""What /metrics counts of prompts, from the router's own hooks to the families that Prometheus reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from aquahost.api.metric_families import Figures
from aquahost.daemon.histogram import Histogram
from aquahost.daemon.live_prompt import LivePrompt
from aquahost.daemon.prompt_counts import PromptCounts
from aquahost.daemon.prompt_stream import PromptStream
from aquahost.messages.figures import LendingFigures, Lent, PromptFigures, ServingFigures
from aquahost.messages.prompts import Accepted, FinishReason, Output, Progress, Prompt, Sampling, TextRequest, Tokens
from aquahost.messages.wire import EngineStats, Paged
from cli_harness import a_gpu, a_lease, a_model, a_snapshot

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana-dashboard.json"


def live(model: str = "chat") -> LivePrompt:
    request = TextRequest(text="x", sampling=Sampling(max_tokens=5))
    prompt = Prompt(id="p", model=model, tenant="t", request=request, created_s=10.0)
    return LivePrompt(prompt, PromptStream("p", lambda _: None, queue_length=1))


def counted(*outputs: tuple[float, Output]) -> PromptCounts:
    counts, prompt = PromptCounts(), live()
    for now_s, output in outputs:
        prompt.note(output, now_s)
        counts.produced(prompt, output, now_s)
    counts.ended(prompt, prompt.view(outputs[-1][0]), FinishReason.STOP)
    return counts


def samples(figures: PromptFigures) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = generate_latest(Figures(a_snapshot(), LendingFigures(), figures)).decode()  # type: ignore[arg-type]
    families = text_string_to_metric_families(text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def value(figures: PromptFigures, name: str, **labels: str) -> float:
    return samples(figures)[name, frozenset(labels.items())]


def test_waits_tokens_and_ends() -> None:
    counts = counted(
        (10.5, Accepted("p", 7, None)),
        (12.0, Tokens("p", "a", [1])),
        (12.2, Tokens("p", "b", [1])),
        (12.8, Tokens("p", "cde", [1, 2, 3])),  # 0.2 s for each
    )
    figures = counts.figures()
    assert value(figures, "aquahost_first_token_seconds_sum", model="chat") == 2.0
    assert value(figures, "aquahost_first_token_seconds_bucket", model="chat", le="2.5") == 1
    assert value(figures, "aquahost_first_token_seconds_bucket", model="chat", le="1.0") == 0
    assert value(figures, "aquahost_between_tokens_seconds_count", model="chat") == 4
    assert round(value(figures, "aquahost_between_tokens_seconds_sum", model="chat"), 9) == 0.8
    assert value(figures, "aquahost_produced_tokens_total", model="chat") == 5
    assert value(figures, "aquahost_input_tokens_total", model="chat") == 7
    assert value(figures, "aquahost_prompts_ended_total", model="chat", reason="stop") == 1
    assert round(value(figures, "aquahost_prompt_seconds_sum", model="chat"), 9) == 2.8


def test_images_have_a_first_step_and_no_tokens() -> None:
    figures = counted((11.0, Progress("p", 1, 4)), (15.0, Progress("p", 2, 4))).figures()
    assert value(figures, "aquahost_first_token_seconds_sum", model="chat") == 1.0
    assert value(figures, "aquahost_between_tokens_seconds_count", model="chat") == 0


def test_a_text_without_a_token_of_its_own_counts_as_none() -> None:
    figures = counted((11.0, Tokens("p", "a", [1])), (12.0, Tokens("p", "rest", []))).figures()
    assert value(figures, "aquahost_produced_tokens_total", model="chat") == 1


def test_the_refused_are_counted_by_status() -> None:
    counts = PromptCounts()
    for model, status in (("chat", 429), ("chat", 429), ("chat", 503), ("", 404)):
        counts.refused(model, status)
    figures = counts.figures()
    assert value(figures, "aquahost_prompts_refused_total", model="chat", status="429") == 2
    assert value(figures, "aquahost_prompts_refused_total", model="chat", status="503") == 1
    assert value(figures, "aquahost_prompts_refused_total", model="", status="404") == 1


@hypothesis_settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 5))))
def test_a_histogram_s_buckets_say_how_many_were_no_longer(added: list[tuple[float, int]]) -> None:
    bounds = (0.1, 1.0, 10.0)
    histogram = Histogram(bounds)
    for duration_s, times in added:
        histogram.add(duration_s, times)
    view = histogram.view()
    assert view.count == sum(times for _, times in added)
    for bound, bucket in zip(bounds, view.buckets, strict=True):
        assert bucket.count == sum(times for duration_s, times in added if duration_s <= bound)


def everything() -> Figures:
    lending = LendingFigures(lent=[Lent(1, "chat", 5)], paged=[Paged("local", "peer", 1)])
    stats = EngineStats(output_tokens=1, busy_s=2.0)
    snapshot = a_snapshot(a_model(stats=stats, restarts=3), gpus=[a_gpu(utilisation=0.5)], leases=[a_lease()])
    counts = counted((11.0, Tokens("p", "a", [1])))
    counts.refused("chat", 429)
    serving = ServingFigures(jobs={"queued": 2}, limited={"tokens": 1}, cut={"late": 3})
    return Figures(snapshot, lending, counts.figures(), serving)


def test_openmetrics_is_well_formed() -> None:
    """Its parser is strict: order, duplicates, and buckets that do not rise are errors."""
    families = {family.name: family for family in parse_openmetrics(openmetrics(everything()).decode())}  # type: ignore[arg-type]
    assert families["aquahost_first_token_seconds"].type == "histogram"
    assert families["aquahost_worker_restarts"].samples[0].value == 3
    assert families["aquahost_gpu_utilisation"].samples[0].value == 0.5
    assert families["aquahost_model_busy_seconds"].samples[0].value == 2.0
    assert families["aquahost_jobs"].samples[0].value == 2
    assert families["aquahost_rate_limited"].samples[0].value == 1
    assert families["aquahost_connections_cut"].samples[0].labels == {"why": "late"}
    assert all(family.documentation for family in families.values())


def queries(value: Any) -> list[str]:
    """All PromQL of a dashboard: of its panels, and of its variables."""
    if isinstance(value, list):
        return [query for item in value for query in queries(item)]
    if not isinstance(value, dict):
        return []
    found = [value[key] for key in ("expr", "definition") if isinstance(value.get(key), str)]
    return found + [query for item in value.values() for query in queries(item)]


def test_the_dashboard_asks_for_what_is_exported() -> None:
    text = generate_latest(everything()).decode()  # type: ignore[arg-type]
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    asked = queries(json.loads(DASHBOARD.read_text()))
    assert len(asked) >= 12
    for query in asked:
        names = re.findall(r"\baquahost_\w+", query)
        assert names, query
        for name in names:
            assert name in labels, f"{name} is not exported"
        for part in re.findall(r"by \(([^)]*)\)|\{([^}=!~]+)[=!~]", query):
            for label in "".join(part).split(","):
                known = set().union(*(labels[name] for name in names))
                assert label.strip() in known, f"{label} is no label of {names}"
