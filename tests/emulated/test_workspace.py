"""Memory for activations: claimed before it is taken, really taken from the emulated GPU, given back after a while."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aquahost.clock import VirtualClock
from aquahost.engines.device import EngineDevice
from aquahost.engines.memory_desk import Part
from aquahost.engines.workspace import CLAIM_WAIT_S, NoRoomError, Workspace
from aquahost.messages.memory import Claim
from aquahost.units import MIB
from aquahost_cuda.driver import EmulatedDriver
from driver_fixtures import emulated
from scripted_broker import ScriptedBroker


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path) as opened:
        yield opened


@pytest.fixture
def broker() -> ScriptedBroker:
    return ScriptedBroker()


@pytest.fixture
def device(driver: EmulatedDriver, broker: ScriptedBroker) -> Iterator[EngineDevice]:
    opened = EngineDevice(driver, 0, broker.desk(linger_s=2.0))
    yield opened
    opened.close()


@pytest.fixture
def workspace(device: EngineDevice) -> Iterator[Workspace]:
    made = Workspace(device)
    yield made
    made.close()
    assert device.free_bytes() == device.total_bytes


def test_memory_is_taken_once_it_is_settled_and_not_before(
    workspace: Workspace, device: EngineDevice, broker: ScriptedBroker
) -> None:
    broker.hesitates = True
    assert not workspace.want(3 * MIB)
    assert workspace.wait_s() == CLAIM_WAIT_S
    assert device.desk.take_reports() == [Claim(4 * MIB)]  # whole pages of 2 MiB
    assert not workspace.want(3 * MIB)
    assert device.desk.take_reports() == [], "asked once"
    assert (workspace.nbytes, device.free_bytes()) == (0, device.total_bytes)
    broker.heard = [Claim(4 * MIB)]
    broker.settle(device.desk)
    assert workspace.want(3 * MIB)
    assert workspace.nbytes == 4 * MIB == device.total_bytes - device.free_bytes()


def test_more_is_claimed_as_it_is_needed_and_never_less_while_prompts_run(
    workspace: Workspace, device: EngineDevice, broker: ScriptedBroker
) -> None:
    for wanted, has in ((4, 4), (2, 4), (10, 10), (6, 10)):
        workspace.want(wanted * MIB)
        broker.serve(device.desk, device.desk)
        assert workspace.want(wanted * MIB)
        assert workspace.nbytes == has * MIB == device.total_bytes - device.free_bytes()
    assert broker.heard == [Claim(4 * MIB), Claim(10 * MIB)]


def test_it_is_given_back_when_no_prompt_has_come_for_a_while(
    workspace: Workspace, device: EngineDevice, broker: ScriptedBroker
) -> None:
    clock = broker.clock
    assert isinstance(clock, VirtualClock)
    workspace.want(4 * MIB)
    broker.serve(device.desk, device.desk)
    assert workspace.want(4 * MIB)
    workspace.rest()
    assert workspace.wait_s() == 2.0
    clock.advance(1.5)
    workspace.rest()
    assert workspace.want(4 * MIB), "a prompt in between"
    clock.advance(1.5)
    workspace.rest()
    clock.advance(1.9)
    workspace.rest()
    assert workspace.nbytes == 4 * MIB
    assert workspace.wait_s() == pytest.approx(0.1)
    clock.advance(0.2)
    workspace.rest()
    assert (workspace.nbytes, device.free_bytes()) == (0, device.total_bytes)
    assert device.desk.take_reports() == [Claim(0)]
    assert workspace.wait_s() == float("inf")


def test_a_refusal_names_what_is_needed_and_what_there_is_and_leaves_the_rest(
    workspace: Workspace, device: EngineDevice, broker: ScriptedBroker
) -> None:
    broker.limit_bytes = 10 * MIB
    device.desk.claim(Part.WEIGHTS, 2 * MIB)
    workspace.want(4 * MIB)
    broker.serve(device.desk, device.desk)
    assert workspace.want(4 * MIB)
    workspace.want(30 * MIB)
    broker.serve(device.desk, device.desk)
    with pytest.raises(NoRoomError, match=r"30.0 MiB are needed .* of which 8.0 MiB can be had"):
        workspace.want(30 * MIB)
    assert workspace.nbytes == 4 * MIB == device.total_bytes - device.free_bytes()
    assert workspace.want(4 * MIB)
    workspace.want(8 * MIB)
    broker.serve(device.desk, device.desk)
    assert workspace.want(8 * MIB), "less can still be had"


def test_settled_memory_that_another_process_holds_is_refused_and_may_be_had_later(
    workspace: Workspace, device: EngineDevice, broker: ScriptedBroker
) -> None:
    stranger = device.buffer(60 * MIB)
    for _ in range(2):
        workspace.want(10 * MIB)
        broker.serve(device.desk, device.desk)
        with pytest.raises(NoRoomError, match=r"10.0 MiB .* GPU 0 has 4.0 MiB, since other processes"):
            workspace.want(10 * MIB)
        assert device.desk.settled(Part.WORK) == workspace.nbytes == 0
    stranger.close()
    workspace.want(10 * MIB)
    broker.serve(device.desk, device.desk)
    assert workspace.want(10 * MIB)


def test_without_a_broker_a_claim_holds_at_once(driver: EmulatedDriver) -> None:
    device = EngineDevice(driver, 1)
    workspace = Workspace(device)
    assert workspace.want(3 * MIB)
    assert device.total_bytes - device.free_bytes() == 4 * MIB
    workspace.close()
    workspace.close()
    device.close()


def test_needing_nothing_claims_nothing(workspace: Workspace, device: EngineDevice) -> None:
    assert workspace.want(0)
    workspace.rest()
    assert device.desk.take_reports() == []
