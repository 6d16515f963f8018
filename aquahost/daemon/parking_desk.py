"""Parking by hand: what the machine's owner wants of idle models' weights, and why it may be refused."""

from __future__ import annotations

from collections.abc import Callable

from aquahost.config.settings import Kind
from aquahost.daemon.hosted_model import HostedModel
from aquahost.errors import InvalidRequestError, ModelStateError
from aquahost.messages.snapshot import ModelState
from aquahost.messages.wire import Park, Pin, ToWorker, Wake

_LOADED = (ModelState.READY, ModelState.DRAINING)


class ParkingDesk:
    """Checks a wish and passes it on to the model's worker, which carries it out as soon as it can.

    A model that is pinned by hand stays pinned until it is unpinned by hand: the supervisor tells each new worker.
    """

    def __init__(self, *, lends: Callable[[], bool], send: Callable[[int, ToWorker], bool]) -> None:
        """`lends`: whether workers lend at all."""
        self._lends = lends
        self._send = send

    def park(self, model: HostedModel) -> None:
        """Have an idle model parked; does nothing where it is. Raises InvalidRequestError for a toy, and
        ModelStateError for one that is not loaded, has prompts, is pinned, or where nobody lends."""
        self._require_loaded(model)
        if model.prompts:
            count = "a live prompt" if len(model.prompts) == 1 else f"{len(model.prompts)} live prompts"
            raise ModelStateError(f"the model {model.name!r} has {count}; only an idle one can be parked", code="busy")
        if model.pinned:
            message = f"the model {model.name!r} is pinned; `aquahost unpin {model.name}` lets it be parked"
            raise ModelStateError(message, code="pinned")
        if not self._lends():
            raise ModelStateError(
                f"the model {model.name!r} cannot be parked: nobody lends memory on this host (see leasing.enabled, "
                "and `aquahost doctor`), so there is nobody to make room for",
                code="nobody_lends",
            )
        self._tell(model, Park())

    def wake(self, model: HostedModel) -> None:
        """Have a parked model's weights back; does nothing where they are. Raises the same, if it is not loaded."""
        self._require_loaded(model)
        self._tell(model, Wake())

    def pin(self, model: HostedModel, *, pinned: bool) -> None:
        """Never park it from now on, or again when it is idle, whatever its entry says. Raises InvalidRequestError for
        a toy."""
        self._refuse_toys(model)
        model.pinned = pinned
        if model.state in _LOADED:
            self._tell(model, Pin(pinned))

    def _tell(self, model: HostedModel, message: ToWorker) -> None:
        if model.worker_id is not None:
            self._send(model.worker_id, message)

    def _require_loaded(self, model: HostedModel) -> None:
        self._refuse_toys(model)
        if model.state not in _LOADED:
            raise ModelStateError(f"the model {model.name!r} is not loaded: it is {model.state}", code="not_loaded")

    @staticmethod
    def _refuse_toys(model: HostedModel) -> None:
        if model.settings.kind is Kind.TOY:
            message = f"the model {model.name!r} is a toy: it has no weights, so there is nothing to park"
            raise InvalidRequestError(message, param="model", code="nothing_to_park")
