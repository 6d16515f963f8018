"""`aquahost leases`: golden tables, filters, and why there are none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.messages.snapshot import LeaseState, LeaseView, LinkView, Snapshot
from cli_harness import GIB, Canned, a_gpu, a_lease, a_link, a_model, a_snapshot, all_links, run_cli

MODELS = (a_model("chat"), a_model("paint", gpu=1), a_model("org/sing", gpu=1), a_model("idle", gpu=3))
GPUS = [a_gpu(0, models=["chat"]), a_gpu(1, models=["paint", "org/sing"]), a_gpu(2, models=[])]
LEASES = [
    a_lease(1),
    a_lease(12, donor=2, nbytes=3 * GIB // 2, state=LeaseState.GRANTED, age_s=0.25),
    a_lease(13, state=LeaseState.RECALLING, recalled_bytes=GIB // 2, deadline_in_s=0.75),
    a_lease(14, donor=0, borrower="idle", borrower_gpu=3, state=LeaseState.RECALLING, deadline_in_s=-2.5),
]


@pytest.fixture
def api() -> Canned:
    return Canned(a_snapshot(*MODELS, gpus=GPUS, leases=LEASES))


def test_the_table(api: Canned) -> None:
    assert run_cli("leases", api=api).stdout.splitlines() == [
        "ID  DONOR                    BORROWER         BYTES  STATE         AGE   RECALLED  DUE",
        " 1  GPU 1 (paint, org/sing)  chat on GPU 0  1.0 GiB  mapped     12.0 s          -  -",
        "12  GPU 2                    chat on GPU 0  1.5 GiB  granted    250 ms          -  -",
        "13  GPU 1 (paint, org/sing)  chat on GPU 0  1.0 GiB  recalling  12.0 s  512.0 MiB  in 750 ms",
        "14  GPU 0 (chat)             idle on GPU 3  1.0 GiB  recalling  12.0 s          -  2.5 s late",
    ]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ([], ["1", "12", "13", "14"]),
        (["chat"], ["1", "12", "13", "14"]),
        (["org/sing"], ["1", "13"]),
        (["idle"], ["14"]),
        (["paint", "idle"], ["1", "13", "14"]),
    ],
)
def test_ids_of_what_some_models_borrow_or_their_gpus_lend(names: list[str], ids: list[str], api: Canned) -> None:
    assert run_cli("leases", "-q", *names, api=api).stdout.split() == ids
    assert [str(lease["id"]) for lease in json.loads(run_cli("leases", "-o", "json", *names, api=api).stdout)] == ids


def test_an_unloaded_model_has_no_gpu_whose_leases_could_be_shown() -> None:
    model = a_model("paint", gpu=None)
    result = run_cli("leases", "paint", api=Canned(a_snapshot(model, a_model(), leases=[a_lease()])))
    assert result.stderr == "no leases of these models\n"


@pytest.mark.parametrize(
    ("snapshot", "why"),
    [
        (a_snapshot(leasing=False), ": leasing.enabled is false in models.yaml"),
        (a_snapshot(), ": there is no second GPU; host.partition makes several of a large one"),
        (
            a_snapshot(gpus=GPUS, links=[a_link(-1, 0), a_link(0, -1), a_link(0, 1, usable=False)]),
            ": no GPU can use another's memory; `aquahost doctor` says why",
        ),
        (a_snapshot(gpus=GPUS, links=all_links(3)), ": no model needs more KV memory than it has"),
    ],
)
def test_no_leases_and_why(snapshot: Snapshot, why: str) -> None:
    result = run_cli("leases", api=Canned(snapshot))
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == f"no leases{why}\n"
    assert run_cli("leases", "-o", "json", api=Canned(snapshot)).stdout == "[]\n"


HUGE = st.integers(-(2**63), 2**63)
SECONDS = st.floats(allow_nan=False, allow_infinity=False)
ANY_LEASE = st.builds(
    LeaseView,
    id=HUGE,
    donor=HUGE,
    borrower=st.sampled_from(["chat", "org/sing", "x" * 128]),
    borrower_gpu=HUGE,
    nbytes=HUGE,
    recalled_bytes=HUGE,
    state=st.sampled_from(LeaseState),
    age_s=SECONDS,
    deadline_in_s=st.none() | SECONDS,
)
ANY_LINK = st.builds(
    LinkView,
    source=st.integers(-3, 70),
    target=st.integers(-3, 70),
    usable=st.booleans(),
    reason=st.text(max_size=8),
    bytes_per_s=SECONDS,
)


@given(st.lists(ANY_LEASE, max_size=4), st.lists(ANY_LINK, max_size=4))
def test_whatever_a_daemon_says_is_a_line_each(leases: list[LeaseView], links: list[LinkView]) -> None:
    result = run_cli("leases", api=Canned(a_snapshot(*MODELS, gpus=GPUS, leases=leases, links=links)))
    assert result.exit_code == 0
    assert result.stdout.count("\n") == len(leases) + 1
