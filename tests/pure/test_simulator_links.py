"""Virtual time, and copies that share links on it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.config.settings import EmulatedSettings
from aquahost.profiles.data_sheets import parse_node
from aquahost.simulator.agenda import Agenda
from aquahost.simulator.links import ACHIEVABLE, HOST, Links, Paired, Part, Switched

GB = 10**9


def emulated(**rates: float) -> Paired:
    none = {"peer_latency_s": 0, "host_latency_s": 0}
    return Paired(EmulatedSettings(peer_bytes_per_s=10e9, host_bytes_per_s=1e9, **(none | rates)))  # type: ignore[arg-type]


def arrivals(wiring: Paired | Switched, copies: list[tuple[float, Part]]) -> list[float]:
    """When each copy has arrived, started when asked."""
    agenda = Agenda()
    links = Links(agenda, wiring)
    came = [0.0] * len(copies)

    def note(at: int) -> None:
        came[at] = agenda.now_s()

    for at, (begin_s, part) in enumerate(copies):
        agenda.at(begin_s, lambda at=at, part=part: links.copy([part], lambda: note(at)))  # type: ignore[misc]
    agenda.run(1e6)
    assert links.moved.total() == sum(part.nbytes for _, part in copies)
    return came


def test_things_happen_in_order_and_at_one_instant_as_they_were_entered() -> None:
    agenda, seen = Agenda(), []
    for name, at_s in (("b", 2.0), ("a", 1.0), ("c", 2.0)):
        agenda.at(at_s, lambda name=name: seen.append((name, agenda.now_s())))  # type: ignore[misc]
    agenda.at(1.5, lambda: seen.append(("never", 0.0))).cancel()
    assert agenda.run(1.9)
    assert not agenda.run(5.0)
    assert seen == [("a", 1.0), ("b", 2.0), ("c", 2.0)]
    assert agenda.now_s() == 5.0


def test_a_copy_takes_latency_and_its_bytes_by_the_rate() -> None:
    wiring = emulated(peer_latency_s=0.25, host_latency_s=0.5)
    assert arrivals(wiring, [(0.0, Part(0, 1, 10 * GB))]) == [pytest.approx(1.25)]
    assert arrivals(wiring, [(0.0, Part(0, HOST, GB))]) == [pytest.approx(1.5)]


def test_copies_one_way_share_a_link_and_the_other_way_is_apart() -> None:
    came = arrivals(emulated(), [(0.0, Part(0, 1, 10 * GB)), (0.5, Part(0, 1, 10 * GB)), (0.0, Part(1, 0, 10 * GB))])
    assert came == [pytest.approx(1.5), pytest.approx(2.0), pytest.approx(1.0)]


def test_on_a_switch_a_gpus_port_is_shared_by_all_its_copies() -> None:
    wiring = Switched(parse_node("4xH100"))
    rate = ACHIEVABLE * wiring.node.sheet.nvlink_bytes_per_s
    nbytes = round(rate)
    latency_s = wiring.latency_s(0, 1)
    out = arrivals(wiring, [(0.0, Part(0, 1, nbytes)), (0.0, Part(0, 2, nbytes)), (0.0, Part(3, 0, nbytes))])
    assert out == [pytest.approx(2 + latency_s), pytest.approx(2 + latency_s), pytest.approx(1 + latency_s)]


def test_a_copy_of_nothing_arrives_and_parts_of_one_copy_arrive_together() -> None:
    agenda = Agenda()
    links, came = Links(agenda, emulated()), []
    links.copy([], lambda: came.append(("nothing", agenda.now_s())))
    links.copy(
        [Part(0, 1, 10 * GB), Part(0, HOST, 3 * GB), Part(0, 1, 10 * GB)], lambda: came.append(("all", agenda.now_s()))
    )
    agenda.run(100.0)
    assert came == [("nothing", 0.0), ("all", pytest.approx(3.0))]


def test_time_goes_on_however_late_it_is() -> None:
    """Clocks get coarse: after a day an instant is exact to some picoseconds, in which a link carries bytes."""
    agenda = Agenda()
    links = Links(agenda, Switched(parse_node("8xB200")))
    came = []
    for begin_s in (20_000.0, 90_000.0, 900_000.0):
        agenda.at(
            begin_s,
            lambda: links.copy([Part(0, 1, 123_456_789), Part(0, HOST, 1)], lambda: came.append(agenda.now_s())),
        )
    agenda.run(1e6)
    assert len(came) == 3


COPIES = st.lists(
    st.tuples(
        st.floats(0, 3),
        st.builds(
            Part, st.integers(0, 2), st.integers(3, 4) | st.just(HOST), st.integers(1, 20).map(lambda n: n * 10**8)
        ),
    ),
    min_size=1,
    max_size=12,
)


@given(copies=COPIES, switched=st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_way_carries_more_than_it_can(copies: list[tuple[float, Part]], switched: bool) -> None:
    wiring: Paired | Switched = Switched(parse_node("8xA100")) if switched else emulated()
    came = arrivals(wiring, copies)
    for way in {way for _, part in copies for way in wiring.ways(part.source, part.target)}:
        through = [
            (begin_s, came_s, part.nbytes)
            for (begin_s, part), came_s in zip(copies, came, strict=True)
            if way in wiring.ways(part.source, part.target)
        ]
        rate = next(
            wiring.ways(part.source, part.target)[way]
            for _, part in copies
            if way in wiring.ways(part.source, part.target)
        )
        span_s = max(end for _, end, _ in through) - min(begin for begin, _, _ in through)
        assert sum(nbytes for _, _, nbytes in through) <= rate * span_s * (1 + 1e-6) + 2
        for begin_s, came_s, nbytes in through:
            assert came_s - begin_s >= nbytes / rate * (1 - 1e-6) - 1e-6
