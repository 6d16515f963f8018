"""Placing models on a simulated node: as the planner says, replicas and groups included, overloaded or not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.config.settings import Kind, ModelSettings, Settings, TrafficSettings
from aquahost.errors import ConfigError
from aquahost.simulator.placing import placed
from simulated_host import CHAT, GB, machine, profile_of

NODE_BYTES = 40 * GB


def a_model(name: str, **fields: Any) -> ModelSettings:
    kind = Kind.LLM if name.startswith("chat") else Kind.IMAGE
    return ModelSettings(kind=kind, source="x", **({"kv_bytes": 2 * GB} if kind is Kind.LLM else {}) | fields)


def places(gpus: int, **models: ModelSettings) -> list[tuple[str, tuple[int, ...]]]:
    profiles = {name: profile_of(name) for name in models if name != "toy"}
    return [(one.name, one.gpus) for one in placed(Settings(models=models), profiles, machine(gpus))]


def test_models_have_a_gpu_each_and_those_that_name_one_have_that() -> None:
    found = dict(places(3, chat=a_model("chat"), paint=a_model("paint", gpu=0), chat2=a_model("chat2")))
    assert found["paint"] == (0,)
    assert sorted(found.values()) == [(0,), (1,), (2,)]
    assert list(found) == ["chat", "paint", "chat2"]


def test_more_models_than_gpus_share_them() -> None:
    assert len(places(2, chat=a_model("chat"), chat2=a_model("chat2"), paint=a_model("paint"))) == 3


def test_what_is_asked_too_much_is_placed_all_the_same() -> None:
    busy = TrafficSettings(rate_per_s=1e4)
    assert len(places(2, chat=a_model("chat", traffic=busy), chat2=a_model("chat2", traffic=busy))) == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kv_bytes": 80 * GB}, "models.chat: needs 84.1 GiB of a GPU"),
        ({"replicas": 5}, "5 replicas"),
        ({"tensor_parallel": 4}, "models.chat.tensor_parallel: 4 GPUs of one server; a server has 2"),
        ({"gpu": 2}, "models.chat.gpu: GPU 2 does not exist"),
        ({"gpu": 1, "replicas": 2}, "2 replicas need GPUs of their own, but gpu is 1"),
    ],
)
def test_what_does_not_fit_is_named_with_what_is_short(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as failure:
        places(2, chat=a_model("chat", **fields))
    assert said in str(failure.value)


@settings(max_examples=20, deadline=None)
@given(
    gpus=st.integers(1, 4),
    shapes=st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2), st.floats(0, 50)), min_size=1, max_size=3),
)
def test_whatever_is_placed_fits(gpus: int, shapes: list[tuple[int, int, float]]) -> None:
    models = {
        f"chat{number}": a_model(
            "chat", tensor_parallel=group, replicas=replicas, traffic=TrafficSettings(rate_per_s=rate)
        )
        for number, (group, replicas, rate) in enumerate(shapes)
    }
    try:
        found = places(gpus, **models)
    except ConfigError:
        return
    used = [0] * gpus
    for name, model in models.items():
        where = [group for one, group in found if one == name]
        flat = [gpu for group in where for gpu in group]
        assert len(where) == model.replicas
        assert len(flat) == len(set(flat)) == model.tensor_parallel * model.replicas
        for gpu in flat:
            used[gpu] += CHAT.weights_bytes + CHAT.peak_bytes + 2 * GB // model.tensor_parallel
    assert max(used) <= NODE_BYTES
