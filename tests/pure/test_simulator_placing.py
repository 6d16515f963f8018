"""Placing models on a simulated node: each on GPUs of its own while there are any, and never where it does not fit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.config.settings import Kind, ModelSettings
from aquahost.errors import ConfigError
from aquahost.simulator.placing import placed
from simulated_host import CHAT, GB, profile_of


def a_model(name: str, **fields: Any) -> ModelSettings:
    kind = Kind.LLM if name.startswith("chat") else Kind.IMAGE
    return ModelSettings(kind=kind, source="x", **({"kv_bytes": 2 * GB} if kind is Kind.LLM else {}) | fields)


def places(gpu_bytes: list[int], **models: ModelSettings) -> dict[str, list[tuple[int, ...]]]:
    found: dict[str, list[tuple[int, ...]]] = {}
    for one in placed(models, {name: profile_of(name) for name in models}, gpu_bytes):
        found.setdefault(one.name, []).append(one.gpus)
    return found


def test_models_have_a_gpu_each_in_their_own_order_and_share_once_all_have_one() -> None:
    models = {name: a_model(name) for name in ("chat", "paint", "chat2", "paint2")}
    assert places([40 * GB] * 3, **models) == {"chat": [(0,)], "paint": [(1,)], "chat2": [(2,)], "paint2": [(1,)]}


def test_whoever_names_a_gpu_has_it_and_others_keep_off_while_they_can() -> None:
    models = {"chat": a_model("chat"), "paint": a_model("paint", gpu=0)}
    assert places([40 * GB] * 2, **models) == {"chat": [(1,)], "paint": [(0,)]}


def test_replicas_and_groups_have_gpus_of_their_own() -> None:
    models = {"chat": a_model("chat", tensor_parallel=2, replicas=2), "paint": a_model("paint")}
    assert places([40 * GB] * 5, **models) == {"chat": [(0, 1), (2, 3)], "paint": [(4,)]}


@pytest.mark.parametrize(
    ("fields", "gpu_bytes", "said"),
    [
        ({}, [8 * GB], "models.chat needs 11.4 GiB of a GPU, and none has that left; the emptiest has 7.5 GiB"),
        ({"tensor_parallel": 2}, [40 * GB, 8 * GB], "needs 10.5 GiB of each of 2 GPUs, and one has that left"),
        ({"replicas": 3}, [40 * GB] * 2, "of each of 3 GPUs, and 2 have that left"),
        ({"gpu": 2}, [40 * GB] * 2, "models.chat.gpu: GPU 2 does not exist; the node has 2"),
        ({"gpu": 1}, [40 * GB, 8 * GB], "models.chat: needs 11.4 GiB, and GPU 1 has 7.5 GiB left"),
        ({"gpu": 1, "replicas": 2}, [40 * GB] * 4, "2 replicas need GPUs of their own, but gpu is 1"),
    ],
)
def test_what_does_not_fit_is_named_with_what_is_short(fields: dict[str, Any], gpu_bytes: list[int], said: str) -> None:
    with pytest.raises(ConfigError) as failure:
        places(gpu_bytes, chat=a_model("chat", **fields))
    assert said in str(failure.value)


@given(
    gpus=st.lists(st.integers(15, 80), min_size=1, max_size=8),
    shapes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=6),
)
def test_whatever_is_placed_fits(gpus: list[int], shapes: list[tuple[int, int]]) -> None:
    models = {
        f"chat{number}": a_model("chat", tensor_parallel=group, replicas=replicas)
        for number, (group, replicas) in enumerate(shapes)
    }
    try:
        found = places([gpu * GB for gpu in gpus], **models)
    except ConfigError:
        return
    used = [0] * len(gpus)
    for (group, replicas), where in zip(shapes, found.values(), strict=True):
        flat = [gpu for one in where for gpu in one]
        assert len(where) == replicas
        assert len(flat) == len(set(flat)) == group * replicas
        for gpu in flat:
            used[gpu] += CHAT.weights_bytes + CHAT.peak_bytes + 2 * GB // group
    assert all(nbytes <= gpu * GB for nbytes, gpu in zip(used, gpus, strict=True))
