"""What is said of models that do not fit, and of those that do."""

from __future__ import annotations

import pytest

from aquahost.errors import ConfigError
from aquahost.placement.explain import explain
from aquahost.placement.fleet import Fleet
from aquahost.placement.needs import Need
from aquahost.placement.planner import make_plan
from planned_fleet import fleet, need


def refusal(needs: list[Need], where: Fleet) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make_plan(needs, where)
    return str(caught.value).splitlines()


def test_a_model_too_large_for_a_gpu() -> None:
    assert refusal([need("big", 70, least=20), need("small", 1)], fleet(8, 80)) == [
        "models.big: needs 90.0 GiB of a GPU (weights 70.0 GiB, activations 0 B, KV 20.0 GiB); one has 80.0 GiB for "
        "models: 10.0 GiB short",
        "it would fit with: tensor_parallel: 2 of big; or GPUs of 141 GB (H200)",
    ]


def test_less_kv_is_offered_where_the_entry_reserves_it() -> None:
    lines = refusal([need("chat", 60, kv=30, least=1)], fleet(1, 80))
    assert lines[0].endswith("10.0 GiB short")
    assert lines[1] == "it would fit with: kv_bytes: 20.0GiB of chat; or GPUs of 141 GB (H200)"


def test_all_together_are_too_large() -> None:
    assert refusal([need(f"m{n}", 60) for n in range(3)], fleet(2, 80)) == [
        "models: 180.0 GiB for weights, activations and the least KV of all; 2 GPUs have 160.0 GiB: 20.0 GiB short",
        "it would fit with: 1 more GPU; or GPUs of 141 GB (H200)",
    ]


def test_one_gpu_has() -> None:
    lines = refusal([need(f"m{n}", 60) for n in range(2)], fleet(1, 80))
    assert lines[0].endswith("; 1 GPU has 80.0 GiB: 40.0 GiB short")


def test_all_together_want_too_much_time() -> None:
    lines = refusal([need(f"m{n}", 1, time=0.9) for n in range(3)], fleet(2, 80))
    assert lines == [
        "models: their traffic takes the time of 2.7 GPUs; there are 2: 0.7 short",
        "it would fit with: 1 more GPU",
    ]


def test_the_sum_fits_but_no_gpu_has_room_for_the_last() -> None:
    assert refusal([need(f"m{n}", 50) for n in range(3)], fleet(2, 80)) == [
        "models.m2: needs 50.0 GiB of a GPU (weights 50.0 GiB, activations 0 B); beside the others at most 30.0 GiB "
        "are free on one: 20.0 GiB short",
        "it would fit with: tensor_parallel: 2 of m2; or 1 more GPU; or GPUs of 141 GB (H200)",
    ]
    (why, _) = refusal([need(f"m{n}", 1, time=0.6) for n in range(3)], fleet(2, 80))
    assert why == "models.m2: needs a GPU with 60% of the time free, and beside the others none has"


def test_a_wider_group_is_offered_with_as_much_kv_on_each_gpu() -> None:
    (_, helps) = refusal([need("chat", 100, kv=29, least=1)], fleet(8, 80))
    assert "tensor_parallel: 2 of chat" in helps
    (_, helps) = refusal([need("chat", 100, kv=31, least=1)], fleet(8, 80))
    assert "tensor_parallel: 4 of chat" in helps, "50 GiB of weights and 31 of KV are too much, 25 and 31 are not"


def test_what_is_offered_is_tried_with_all_models() -> None:
    lines = refusal([need(f"m{n}", 50) for n in range(5)], fleet(2, 80, servers=2))
    assert lines[-1] == "it would fit with: tensor_parallel: 2 of m4; or 1 more server; or GPUs of 141 GB (H200)"


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (need("m", gpu=4), "models.m.gpu: GPU 4 does not exist; there is 0 to 3"),
        (need("m", group=4), "models.m.tensor_parallel: 4 GPUs of one server; a server has 2"),
        (need("m", replicas=5), "models.m.replicas: 5 replicas on 1 GPU each need 5 GPUs; there are 4"),
    ],
)
def test_what_the_entry_asks_for_is_not_there(one: Need, said: str) -> None:
    assert refusal([one], fleet(2, 80, servers=2)) == [said]


def test_a_plan_in_words() -> None:
    needs = [
        need("chat", 60, wanted=30, gpu=0, time=0.5),
        need("paint", 10, gpu=1, time=0.2),
        need("sing", 5, gpu=1, time=0.1),
        need("swamped", 75, time=1.4),
    ]
    lines = explain(make_plan(needs, fleet(3, 80)))
    assert lines == [
        "chat is on GPU 0, as its entry says; weights 60.0 GiB, activations 0 B, KV 20.0 GiB; its traffic asks for "
        "30.0 GiB of KV, as no rate is given; borrows 10.0 GiB of GPU 1; 50% of the time, alone there",
        "paint is on GPU 1, as its entry says; weights 10.0 GiB, activations 0 B; 20% of the time, beside sing",
        "sing is on GPU 1, as its entry says; weights 5.0 GiB, activations 0 B; 10% of the time, beside paint",
        "swamped is on GPU 2; weights 75.0 GiB, activations 0 B; 140% of the time, alone there",
        "GPU 1 lends 10.0 GiB to chat on GPU 0; 55.0 GiB stay free",
        "swamped is asked for 1.4 times what it can answer; its queue grows: give it more replicas, or less traffic",
    ]


def test_groups_replicas_and_what_is_lacking_in_words() -> None:
    needs = [need("wide", 50, wanted=40, group=2), need("twin", 50, replicas=2)]
    lines = explain(make_plan(needs, fleet(4, 80)))
    assert lines[0].startswith("wide is on GPUs ")
    assert "borrows 10.0 GiB of GPU " in lines[0]
    assert [line.split(" is on ")[0] for line in lines[:3]] == ["wide", "twin #1", "twin #2"]
    short = explain(make_plan([need("wide", 50, wanted=70, group=2)], fleet(2, 80)))
    assert (
        short[-1] == "in bursts 80.0 GiB of 140.0 GiB of KV find no GPU memory; those prompts are paged to host memory"
    )
