"""Traces: the same for the same seed, in order, of the lengths they promise; from files, or with a clear complaint."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.config.settings import Kind, ModelSettings, TrafficSettings
from aquahost.errors import ConfigError
from aquahost.traces.built_in import TRACES, make_trace
from aquahost.traces.trace import Trace
from aquahost.traces.trace_file import read_trace
from aquahost.traces.trace_line import read_line

SEEDS = st.integers(0, 2**32)


@given(name=st.sampled_from(sorted(TRACES)), seed=SEEDS, prompts=st.none() | st.integers(1, 150))
def test_a_trace_follows_from_its_seed_and_is_in_order(name: str, seed: int, prompts: int | None) -> None:
    trace = make_trace(name, seed=seed, prompts=prompts)
    assert trace == make_trace(name, seed=seed, prompts=prompts)
    arrivals = [prompt.arrival_s for prompt in trace.prompts]
    assert arrivals == sorted(arrivals)
    assert all(arrival_s >= 0 for arrival_s in arrivals)
    assert len({prompt.number for prompt in trace.prompts}) == len(trace.prompts)
    assert trace.kv_tokens >= trace.longest_tokens
    assert trace.longest_tokens <= 2048


@given(seed=SEEDS, name=st.sampled_from(["burst", "poisson"]))
def test_a_burst_s_lengths_have_their_means_and_bounds(seed: int, name: str) -> None:
    trace = make_trace(name, seed=seed)
    inputs, outputs = lengths(trace)
    assert len(inputs) == 96
    assert statistics.fmean(inputs) == pytest.approx(64, abs=0.5)
    assert statistics.fmean(outputs) == pytest.approx(384, abs=0.5)
    assert 4 <= min(inputs) < max(inputs) <= 512
    assert 16 <= min(outputs) < max(outputs) <= 1536
    assert trace.kv_tokens == 8 * 448
    assert name == "poisson" or trace.prompts[-1].arrival_s <= 1


@given(seed=SEEDS)
def test_peers_are_as_peers_were_measured(seed: int) -> None:
    trace = make_trace("peers", seed=seed)
    inputs, outputs = lengths(trace)
    assert len(inputs) == 64
    assert 64 <= min(inputs) <= max(inputs) <= 512
    assert set(outputs) == {128}
    assert trace.kv_tokens == 12 * 416


@given(seed=SEEDS, rate=st.floats(0.5, 50))
def test_poisson_arrivals_come_at_their_rate(seed: int, rate: float) -> None:
    trace = make_trace("poisson", seed=seed, prompts=400, rate_per_s=rate)
    assert 399 / trace.prompts[-1].arrival_s == pytest.approx(rate, rel=0.35)


@given(seed=SEEDS, prompts=st.integers(1, 20))
def test_what_fits_needs_no_more_than_there_is(seed: int, prompts: int) -> None:
    trace = make_trace("fits", seed=seed, prompts=prompts)
    assert sum(-(-prompt.tokens // 16) * 16 for prompt in trace.prompts) <= trace.kv_tokens


@given(seed=SEEDS, prompts=st.none() | st.integers(1, 150))
def test_the_light_tenant_asks_the_same_alone(seed: int, prompts: int | None) -> None:
    both = make_trace("tenants", seed=seed, prompts=prompts)
    alone = make_trace("light-alone", seed=seed, prompts=prompts)
    assert alone.prompts == tuple(prompt for prompt in both.prompts if prompt.tenant == "light")
    assert alone.kv_tokens <= both.kv_tokens
    assert len(both.prompts) == 11 * len(alone.prompts)
    assert both.tenants == ["heavy", "light"]


def test_mixed_has_both_kinds() -> None:
    inputs, _ = lengths(make_trace("mixed", seed=1))
    assert sum(tokens <= 128 for tokens in inputs) == 72
    assert sum(tokens >= 256 for tokens in inputs) == 24


def lengths(trace: Trace) -> tuple[list[int], list[int]]:
    return [prompt.input_tokens for prompt in trace.prompts], [prompt.output_tokens for prompt in trace.prompts]


LINE = {"arrival_s": 0.5, "input_tokens": 64, "output_tokens": 384}


def written(folder: Path, *lines: object) -> Path:
    path = folder / "trace.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def test_a_file_s_prompts_are_put_in_order_and_begin_at_zero(tmp_path: Path) -> None:
    late = LINE | {"arrival_s": 2, "tenant": "b", "model": "org/m"}
    trace = read_trace(written(tmp_path, late, "", LINE | {"tenant": "a"}))
    assert [prompt.arrival_s for prompt in trace.prompts] == [0, 1.5]
    assert [(prompt.tenant, prompt.model) for prompt in trace.prompts] == [("a", ""), ("b", "org/m")]
    assert (trace.tenants, trace.models) == (["a", "b"], ["", "org/m"])
    assert trace.kv_tokens == 8 * 448
    assert len(read_trace(tmp_path / "trace.jsonl", prompts=1).prompts) == 1


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "\x00",
        {"arrival_s": 0, "input_tokens": 1},
        LINE | {"arrival_s": -1},
        LINE | {"input_tokens": 0},
        LINE | {"output_tokens": 1.5},
        LINE | {"output_tokens": "many"},
        LINE | {"tenant": "no name"},
        LINE | {"model": ""},
        LINE | {"priority": 1},
        LINE | {"size": 512.0},
        {"arrival_s": 0, "steps": 30},
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: object) -> None:
    with pytest.raises(ConfigError, match=r"trace\.jsonl:2: "):
        read_trace(written(tmp_path, LINE, line))


def test_image_and_audio_models_are_asked_in_their_own_terms(tmp_path: Path) -> None:
    models = {
        name: ModelSettings(kind=kind, source="x", max_duration_s=30)
        for name, kind in (("chat", Kind.LLM), ("paint", Kind.IMAGE), ("sing", Kind.AUDIO))
    }
    path = written(
        tmp_path,
        {"arrival_s": 0, "size": 1048576, "steps": 30},
        {"arrival_s": 1, "model": "sing", "size": 12.5, "tenant": None},
        LINE | {"arrival_s": 2, "model": "chat"},
    )
    trace = read_trace(path, models=models, sole="paint")
    assert [(prompt.model, prompt.size, prompt.steps) for prompt in trace.prompts] == [
        ("", 1048576, 30),
        ("sing", 12.5, None),
        ("chat", None, None),
    ]
    for line, said in (
        (LINE, "names no model; there are chat, paint, sing"),
        ({"arrival_s": 0, "model": "song"}, "no model 'song'; did you mean sing"),
        ({"arrival_s": 0, "model": "sing", "size": 31}, "size 31 is above sing's largest, 30 seconds"),
        ({"model": "sing"}, 'lacks arrival_s, when the prompt comes; .*"size": 10'),
        (
            {"arrival_s": 0, "model": "chat", "size": 9},
            "size is for prompts to image and audio models; .*output_tokens",
        ),
    ):
        with pytest.raises(ConfigError, match=rf"trace\.jsonl:1: .*{said}"):
            read_trace(written(tmp_path, line), models=models)


def test_lengths_left_out_are_the_means_that_the_entry_expects(tmp_path: Path) -> None:
    models = {
        "chat": ModelSettings(kind=Kind.LLM, source="x", traffic=TrafficSettings(input_tokens=7, output_tokens=9))
    }
    path = written(tmp_path, {"arrival_s": 0, "input_tokens": 3}, {"arrival_s": 1})
    prompts = read_trace(path, models=models, sole="chat").prompts
    assert [(prompt.input_tokens, prompt.output_tokens) for prompt in prompts] == [(3, 9), (7, 9)]
    with pytest.raises(ConfigError, match=r"trace\.jsonl:1: lacks output_tokens; write a line like"):
        read_trace(path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[]", "is no JSON object; write a line like"),
        ("{", "is no JSON object ("),
        (LINE | {"arrival_s": 1e6}, "arrival_s is 1,000,000; it must be seconds, a number from 0 to 86,400"),
        (LINE | {"input_tokens": 0}, "input_tokens is 0; it must be a whole number from 1 to 16,777,216"),
        (LINE | {"output_tokens": "many"}, 'output_tokens is "many"; it must be a whole number'),
        (LINE | {"tenant": "no name"}, 'tenant is "no name"; it must be a name: letters, digits and . _ - : /'),
        (LINE | {"model": "m" * 200}, "…; it must be a name: letters"),
        (LINE | {"priority": 1}, 'there is no "priority"; a line may have arrival_s, input_tokens, output_tokens'),
    ],
)
def test_what_is_wrong_is_said_in_words(tmp_path: Path, line: object, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_trace(written(tmp_path, line))


@given(
    value=st.dictionaries(
        st.sampled_from(["arrival_s", "input_tokens", "output_tokens", "tenant", "model", "size", "steps", "other"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text("ab /é", max_size=5)
        | st.just([1]),
    )
)
def test_every_line_is_read_or_refused_with_a_reason(value: dict[str, object]) -> None:
    said = ""
    try:
        read_line(json.dumps(value).encode(), lambda model: Kind.LLM)
    except ValueError as error:
        said = str(error)
    assert not re.search(r"Expected|Object missing|\$\.|regex", said)


def test_files_without_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no prompt"):
        read_trace(written(tmp_path, ""))
    with pytest.raises(ConfigError, match=r"trace\.jsonl:2: names a tenant, and line 1 names no tenant"):
        read_trace(written(tmp_path, LINE, LINE | {"tenant": "a"}))
    with pytest.raises(ConfigError, match="No such file"):
        read_trace(tmp_path / "none.jsonl")
