"""Who lends to whom: all that can be met is, over links there are, from few donors."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.placement.donors import Lending, match_donors
from aquahost.placement.fleet import Fleet
from aquahost.placement.needs import Need
from aquahost.placement.parts import parts_of
from planned_fleet import GIB, fleet, need

ROOM = 20


def lend(needs: list[Need], where: Fleet) -> Lending:
    """Each model on the GPU of its number."""
    return match_donors(parts_of(needs), [(number,) for number in range(len(needs))], where)


@st.composite
def crowd(draw: st.DrawFn) -> list[Need]:
    return [
        need(
            f"m{n}",
            draw(st.integers(1, 20)),
            wanted=draw(st.integers(0, 30)),
            kv=draw(st.sampled_from([None, 0])),
            borrow=draw(st.sampled_from([None, None, 0, 5])),
        )
        for n in range(draw(st.integers(1, 5)))
    ]


@settings(max_examples=25, deadline=None)
@given(needs=crowd())
def test_as_much_is_met_as_any_lending_could(needs: list[Need]) -> None:
    """No more than all memory, and no less than Hall's condition gives where everybody uses its own first."""
    where = fleet(5, ROOM)
    found = lend(needs, where)
    parts = parts_of(needs)
    spare = [20 * 1024] * 5
    wishes = [0] * 5
    lost = 0
    for gpu, part in enumerate(parts):
        spare[gpu] -= part.taken
        own = min(part.flexible, spare[gpu])
        spare[gpu] -= own
        asked = min(part.flexible - own, part.flexible_away) + part.remote
        lost += part.flexible - own + part.remote - asked
        wishes[gpu] = asked
    met = min(sum(spare), *(sum(wishes) - max(0, wish - (sum(spare) - spare[gpu])) for gpu, wish in enumerate(wishes)))
    assert lost + max(0, sum(wishes) - sum(spare)) <= found.unmet_units <= lost + sum(wishes) - min(met, sum(wishes))


@settings(max_examples=25, deadline=None)
@given(needs=crowd())
def test_nobody_lends_what_it_needs_nor_to_itself(needs: list[Need]) -> None:
    found = lend(needs, fleet(5, ROOM))
    parts = parts_of(needs)
    for gpu in range(5):
        taken = parts[gpu].taken if gpu < len(parts) else 0
        own = sum(units for (_, one), units in found.own.items() if one == gpu)
        assert taken + own + sum(loan.units for loan in found.loans if loan.donor == gpu) <= ROOM * 1024
    for loan in found.loans:
        assert loan.donor != loan.gpu
    for (number, gpu), own in found.own.items():
        away = sum(loan.units for loan in found.loans if loan.gpu == gpu)
        part = parts[number]
        assert own <= part.flexible
        assert away <= part.flexible_away + part.remote
        assert abs(own + away + found.unmet[number, gpu] - part.flexible - part.remote) <= 8


def test_one_donor_that_suffices_is_enough() -> None:
    found = lend([need("a", 10, wanted=18), need("b", 15), need("c", 1), need("d", 15)], fleet(4, ROOM))
    assert [(loan.donor, loan.units) for loan in found.loans] == [(2, 8 * 1024)]


def test_the_fastest_link_is_taken_and_a_missing_one_is_not() -> None:
    rates = {(1, 0): 1e9, (2, 0): 50e9}
    where = Fleet(servers=1, gpus=4, memory_bytes=ROOM * GIB, rates=rates)
    found = lend([need("a", 10, wanted=15), need("b", 1), need("c", 1), need("d", 1)], where)
    assert [(loan.donor, loan.units) for loan in found.loans] == [(2, 5 * 1024)]
    more = lend([need("a", 10, wanted=60), need("b", 1), need("c", 1), need("d", 1)], where)
    assert {loan.donor: loan.units for loan in more.loans} == {1: 19 * 1024, 2: 19 * 1024}
    assert more.unmet_units == 12 * 1024


def test_what_cannot_be_met_is_shared_by_all() -> None:
    found = lend([need("a", 10, wanted=30), need("b", 10, wanted=30)], fleet(3, ROOM))
    assert found.unmet_units == 20 * 1024
    assert max(found.unmet.values()) - min(found.unmet.values()) <= 2
