"""Shares and rates of about the last second, from reports that come now and then."""

from __future__ import annotations

import pytest

from aquahost.daemon.last_second import LastSecond
from aquahost.daemon.recent_work import RecentWork, flow_views
from aquahost.messages.snapshot import FlowView
from aquahost.messages.wire import EngineStats, Traffic


def reported(work: RecentWork, *reports: tuple[float, float], running: int = 1) -> RecentWork:
    """Reports of (time, busy seconds since the load)."""
    for now_s, busy_s in reports:
        work.note(EngineStats(busy_s=busy_s, running=running), now_s)
    return work


def test_a_worker_that_computes_half_of_the_time_is_half_busy_between_reports_too() -> None:
    work = reported(RecentWork(), *((10 + n / 4, n / 8) for n in range(9)))
    assert work.busy_share(12.0) == pytest.approx(0.5)
    assert work.busy_share(12.2) == pytest.approx(0.5), "the second ends with the newest report"


def test_nothing_is_known_before_the_second_report() -> None:
    assert RecentWork().busy_share(5.0) == 0.0
    assert RecentWork().bytes_per_s(5.0) == {}
    assert reported(RecentWork(), (5.0, 100.0)).busy_share(5.1) == 0.0


def test_an_idle_worker_s_share_falls_to_nothing() -> None:
    work = reported(RecentWork(), (10.0, 0.0), (10.5, 0.5), (11.0, 1.0))
    reported(work, (11.1, 1.0), running=0)
    assert work.busy_share(11.1) == pytest.approx(0.9)
    assert work.busy_share(11.7) == pytest.approx(0.3)
    assert work.busy_share(12.2) == work.busy_share(100.0) == 0.0


def test_work_after_a_long_rest_counts_in_full_and_no_more_than_that() -> None:
    work = reported(RecentWork(), (10.0, 1.0), running=0)
    reported(work, (110.0, 1.25))
    assert work.busy_share(110.0) == pytest.approx(0.25)
    reported(work, (110.25, 1.5))
    assert work.busy_share(110.25) == pytest.approx(0.25 * 0.75 + 0.25)


def test_a_long_step_is_busy_while_it_lasts_and_never_more_than_wholly() -> None:
    work = reported(RecentWork(), (10.0, 0.0), (10.2, 0.2))
    assert work.busy_share(13.0) == 1.0
    reported(work, (16.0, 6.0))
    assert work.busy_share(16.0) == 1.0


def test_many_reports_are_kept_as_few() -> None:
    figure: LastSecond[str] = LastSecond()
    for n in range(2000):
        figure.note({"x": n}, n / 1000)
    assert len(figure._reports) < 50
    assert figure.growth(1.999)["x"] == pytest.approx(1000, rel=0.01)


def test_flows_of_all_workers_are_added_up_by_way_and_end_with_their_worker() -> None:
    def moving(*ways: tuple[int, int, int]) -> RecentWork:
        work = RecentWork()
        work.note(EngineStats(running=1), 9.0)
        work.note(EngineStats(running=1, traffic=tuple(Traffic(*way) for way in ways)), 10.0)
        return work

    workers = [moving((0, 3, 400), (3, 0, 100)), moving((0, 3, 200), (1, -1, 0))]
    assert flow_views(workers, 10.0) == [
        FlowView(source=0, target=3, bytes_per_s=600.0),
        FlowView(source=3, target=0, bytes_per_s=100.0),
    ]
    assert flow_views(workers, 10.75)[0].bytes_per_s == pytest.approx(150.0)
    assert flow_views(workers, 12.0) == flow_views([], 10.0) == []
