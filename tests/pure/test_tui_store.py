"""What the terminal UI's store makes of snapshots."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.events import Event, EventKind
from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import LeaseState
from aquahost_tui.store.lease_history import FLASH_S
from aquahost_tui.store.series import POINTS, SAMPLE_S, Rate, Series
from aquahost_tui.store.store import Store, flow_between, traffic_of_gpus
from made_host import TICK_S, snapshot, snapshots


def filled(ticks: int) -> Store:
    store = Store()
    for at_s, taken in snapshots(ticks):
        store.take(taken, at_s)
    return store


def test_a_series_keeps_peaks_between_its_points() -> None:
    series = Series()
    for at, value in enumerate([1.0, 9.0, 2.0, 3.0]):
        series.add(at * SAMPLE_S / 2, value)
    assert list(series.last(10)) == [9.0, 3.0]
    assert (series.now, list(series.last(1)), list(series.last(0))) == (3.0, [3.0], [])
    for at in range(2 * POINTS):
        series.add(100 + at * SAMPLE_S, 1.0)
    assert len(series.last(10 * POINTS)) == POINTS


@given(st.lists(st.floats(0.05, 2.0), min_size=3, max_size=50), st.floats(1.0, 100.0))
def test_a_rate_is_that_of_an_even_growth(steps_s: list[float], per_s: float) -> None:
    rate, at_s = Rate(), 0.0
    for step_s in steps_s:
        rate.add(at_s, at_s * per_s)
        at_s += step_s
    assert rate.per_s == pytest.approx(per_s)


def test_a_rate_begins_anew_when_the_count_does() -> None:
    rate = Rate()
    assert rate.per_s == 0.0
    for at_s, count in ((0.0, 100), (1.0, 200), (2.0, 0), (3.0, 10)):
        rate.add(at_s, count)
    assert rate.per_s == 10.0
    rate.add(30.0, 10)
    rate.add(31.5, 10)
    assert rate.per_s == 0.0


def test_timelines_follow_each_prompt_until_it_has_ended() -> None:
    store = filled(12)
    timeline = store.timelines.find("p0001xyz")
    assert timeline is not None
    assert [span.state for span in timeline.spans][:2] == [PromptState.WAITING, PromptState.SUSPENDED]
    assert {span.place for span in timeline.spans if span.state is PromptState.RUNNING} == {""}
    assert timeline.rate.per_s == pytest.approx(7 / TICK_S)
    assert not store.timelines.ended
    for tick in range(12, 70):
        store.take(snapshot(tick), tick * TICK_S)
    assert not store.timelines.live
    ended = store.timelines.find("p0001xyz")
    assert ended is timeline
    assert ended.ended_s is not None
    assert store.timelines.find("nobody") is None


def test_leases_flash_when_they_come_grow_are_recalled_and_go() -> None:
    store = filled(6)
    assert store.leases.flash(2, 0, store.at_s) is LeaseState.GRANTED
    assert store.leases.flash(2, 0, store.at_s + FLASH_S) is None
    store.take(snapshot(20), 10.0)
    assert store.leases.flash(2, 0, 10.0) is LeaseState.RECALLING
    assert store.leases.live[1].recalled_s == 10.0
    store.take(snapshot(30), 15.0)
    assert store.leases.flash(2, 0, 15.1) is LeaseState.RETURNED
    assert [record.view.id for record in store.leases.ended] == [1]
    assert store.leases.flash(5, 6, 15.1) is None


def test_totals_and_traffic_are_sums_of_the_snapshot() -> None:
    store = filled(28)
    totals = store.totals()
    assert (totals.ready, totals.models, totals.prompts) == (5, 6, 96)
    assert totals.lent_bytes == sum(lease.nbytes for lease in snapshot(27).leases)
    assert totals.tokens_per_s == pytest.approx(
        sum(store.tokens_per_s(name) for name in ("chat", "coder", "paint", "sing", "mistral"))
    )
    assert store.tokens_per_s("nobody") == 0.0
    taken = snapshot(27)
    assert sum(traffic_of_gpus(taken).values()) == pytest.approx(2 * sum(flow.bytes_per_s for flow in taken.flows))
    assert flow_between(taken, 0, 4) == flow_between(taken, 4, 0) > 0


def test_another_daemon_begins_anew_but_a_reconnection_does_not() -> None:
    store = filled(28)
    event = Event(seq=1, at="2026-11-25T12:00:00Z", kind=EventKind.MODEL_READY, message="chat is ready")
    store.note(event)
    store.note(event)
    store.lose("gone")
    assert (len(store.events), store.last_seq, store.trouble) == (1, 1, "gone")
    store.take(snapshot(28), 14.0)
    assert (store.trouble, len(store.events), len(store.timelines.live)) == (None, 1, 96)
    store.take(msgspec.structs.replace(snapshot(29, prompts=3), run_id="another"), 14.5)
    assert (len(store.events), len(store.timelines.live), len(store.timelines.ended)) == (0, 3, 0)
    assert Store().totals().prompts == 0


def test_words_from_elsewhere_are_printable() -> None:
    evil = "a\x1b[2J\x1b]0;owned\x07\nb"
    store, taken = filled(2), snapshot(3)
    store.note(Event(seq=1, at="2026-11-25T12:00:00Z", kind=EventKind.GPU_LOST, message=evil))
    store.take(
        msgspec.structs.replace(
            taken,
            gpus=[msgspec.structs.replace(gpu, lost=evil) for gpu in taken.gpus],
            models=[msgspec.structs.replace(model, reason=evil) for model in taken.models],
            links=[msgspec.structs.replace(link, reason=evil) for link in taken.links],
            lending_trouble=evil,
        ),
        5.0,
    )
    store.lose(evil)
    kept = store.snapshot
    assert kept is not None
    line = "a�[2J�]0;owned� b"
    assert {store.events[-1].message, kept.gpus[0].lost, kept.links[0].reason, kept.lending_trouble, store.trouble} == {
        line
    }
    assert kept.models[0].reason == line.replace(" b", "\nb")


def test_what_nobody_watched_is_not_told_as_the_last_state() -> None:
    store = filled(12)
    store.paused = True
    store.paused = False
    store.take(snapshot(12), 600.0)
    store.take(snapshot(13), 600.5)
    timeline = store.timelines.live["p0001xyz"]
    assert [span.ended_s for span in timeline.spans if span.ended_s is not None] == [5.5]
    assert timeline.spans[-1].began_s == 600.0
