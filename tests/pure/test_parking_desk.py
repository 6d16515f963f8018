"""What the owner may want of a model's weights, and why it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from aquahost.config.settings import Kind, ModelSettings
from aquahost.daemon.hosted_model import HostedModel
from aquahost.daemon.parking_desk import ParkingDesk
from aquahost.daemon.supervision_limits import SupervisionLimits
from aquahost.errors import InvalidRequestError, ModelStateError
from aquahost.messages.wire import Park, Pin, ToWorker, Wake
from router_desk import WORKER, Desk


class Parkers:
    """A parking desk over the models of a router."""

    def __init__(self) -> None:
        self.router = Desk()
        self.chat = self.router.models["chat"]
        self.lends = True
        self.sent: list[ToWorker] = []
        self.desk = ParkingDesk(lends=lambda: self.lends, send=self._send)

    def _send(self, worker_id: int, message: ToWorker) -> bool:
        assert worker_id == WORKER
        self.sent.append(message)
        return True


@pytest.fixture
def parkers() -> Parkers:
    return Parkers()


def test_wishes_go_to_the_worker(parkers: Parkers) -> None:
    parkers.desk.park(parkers.chat)
    parkers.desk.wake(parkers.chat)
    parkers.desk.pin(parkers.chat, pinned=True)
    parkers.desk.pin(parkers.chat, pinned=False)
    assert parkers.sent == [Park(), Wake(), Pin(True), Pin(False)]


@pytest.mark.parametrize(
    ("why", "message"),
    [
        ("prompts", "'chat' has a live prompt; only an idle one"),
        ("pinned", "'chat' is pinned; `aquahost unpin chat`"),
        ("nobody lends", "nobody lends memory on this host"),
        ("not loaded", "'chat' is not loaded: it is unloaded"),
    ],
)
def test_why_a_model_is_not_parked(parkers: Parkers, why: str, message: str) -> None:
    if why == "prompts":
        parkers.router.ask()
    if why == "pinned":
        parkers.chat.pinned = True
    if why == "nobody lends":
        parkers.lends = False
    if why == "not loaded":
        parkers.chat = HostedModel("chat", parkers.chat.settings, SupervisionLimits(), Path("nowhere"))
    with pytest.raises(ModelStateError, match=message) as refused:
        parkers.desk.park(parkers.chat)
    assert refused.value.status == 409
    assert parkers.sent == []


def test_what_is_not_loaded_cannot_be_woken_but_pinned(parkers: Parkers) -> None:
    fresh = HostedModel("chat", parkers.chat.settings, SupervisionLimits(), Path("nowhere"))
    with pytest.raises(ModelStateError, match="not loaded: it is unloaded"):
        parkers.desk.wake(fresh)
    parkers.desk.pin(fresh, pinned=True)
    assert fresh.view(0.0).pinned
    assert parkers.sent == []


def test_a_toy_says_that_it_has_nothing_to_park(parkers: Parkers) -> None:
    toy = HostedModel("lorem", ModelSettings(kind=Kind.TOY), SupervisionLimits(), Path("nowhere"))
    for ask in (parkers.desk.park, parkers.desk.wake):
        with pytest.raises(
            InvalidRequestError, match="'lorem' is a toy: it has no weights, so there is nothing to park"
        ):
            ask(toy)
    with pytest.raises(InvalidRequestError, match="nothing to park"):
        parkers.desk.pin(toy, pinned=True)


def test_what_the_entry_says_holds_until_someone_says_otherwise() -> None:
    settings = ModelSettings(kind=Kind.LLM, source="x/y", pin=True)
    model = HostedModel("chat", settings, SupervisionLimits(), Path("nowhere"))
    assert model.view(0.0).pinned
    ParkingDesk(lends=lambda: True, send=lambda *_: True).pin(model, pinned=False)
    model.forget_worker()
    assert not model.view(0.0).pinned
