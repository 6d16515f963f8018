"""An idle model's weights on their way to a neighbour or to host memory, there, and on their way back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from aquahost.engines.berth import Berth, host_berth, lent_berth
from aquahost.engines.device import EngineDevice
from aquahost.engines.memory_desk import Part
from aquahost.engines.parking_rule import ParkingRule
from aquahost.engines.workspace import CLAIM_WAIT_S, room_text
from aquahost.errors import EngineError
from aquahost.messages.memory import Demand, LeaseGranted, LeaseLost, LeaseRecalled, LeaseReturned, MemoryInstruction
from aquahost.messages.wire import ParkingWish, Wake
from aquahost.units import format_bytes
from aquahost_cuda.check import DriverError, OutOfMemoryError
from aquahost_cuda.copies import Copy, Direction, Transfer

logger = logging.getLogger(__name__)

GRANT_WAIT_S = 0.5
"""How long a neighbour's memory is waited for before the weights go to the host."""
_COPY_WAIT_S = 0.001

_Stage = Enum("_Stage", "AWAKE ASKING LEAVING PARKED MOVING CLAIMING RETURNING")


class Parking:
    """Moves one engine's weights away when it is idle, and back when a prompt comes. Never blocks.

        awake -> asking -> leaving -> parked -> claiming -> returning -> awake
                                      parked -> moving -> parked      when a neighbour wants its memory back

    Weights may be used while asking and leaving: what leaves is a copy until it is complete. While a lease is held or
    asked for, the worker's demand is this one's; the engine must have none of its own by then.
    """

    def __init__(self, device: EngineDevice, *, pin: bool, ready_to_park: Callable[[], bool] = lambda: True) -> None:
        """`pin`: not to be parked until someone unpins it. `ready_to_park`: whether the engine holds nothing else."""
        self._device = device
        self._weights = device.weights
        self._desk = device.desk
        self._rule = ParkingRule(self._desk, pin=pin, ready_to_park=ready_to_park)
        self._stage = _Stage.AWAKE
        self._since_s = self._desk.clock.now_s()
        self._is_wanted = False
        self._is_recalled = False
        self._size_bytes = 0
        self._berth: Berth | None = None
        self._next_berth: Berth | None = None
        self._transfer: Transfer | None = None
        self.stuck = ""
        """Why the weights cannot come back; prompts that wait for them are to be refused. Another `wake` tries anew."""

    @property
    def is_awake(self) -> bool:
        """Whether the weights may be used now."""
        return self._stage in (_Stage.AWAKE, _Stage.ASKING, _Stage.LEAVING)

    @property
    def is_home(self) -> bool:
        """Whether they are on their own GPU and are to stay there: the engine may have a demand of its own."""
        return self._stage is _Stage.AWAKE

    @property
    def where(self) -> str:
        """Where the weights lie while the model is parked: "host", or "GPU 3"; "" while they are on their own GPU."""
        return "" if self.is_awake or self._berth is None else self._berth.name

    @property
    def gpu_bytes(self) -> int:
        """What the weights take of their own GPU."""
        return self._weights.gpu_bytes

    @property
    def host_bytes(self) -> int:
        """Host memory that holds them, or is about to."""
        return sum(berth.host_bytes for berth in self._berths())

    @property
    def borrowed_bytes(self) -> int:
        """Lent memory that holds them, or is about to."""
        return sum(berth.borrowed_bytes for berth in self._berths())

    def tend(self, *, busy: bool) -> None:
        """Go on with what is under way. `busy`: prompts are live, so the weights are wanted."""
        if busy:
            self._rule.is_asked = False
            if self._stage is _Stage.AWAKE:
                self._since_s = self._desk.clock.now_s()
            elif not self.stuck:
                self._is_wanted = True
        match self._stage:
            case _Stage.AWAKE:
                if not busy and self._rule.is_due(self._desk.clock.now_s() - self._since_s):
                    self._ask()
            case _Stage.ASKING:
                self._await_grant()
            case _Stage.PARKED:
                if self._is_wanted:
                    self._claim()
            case _Stage.CLAIMING:
                self._await_claim()
            case _:
                self._await_copy()

    def wake(self) -> None:
        """Have the weights back as soon as can be, as where a prompt has come."""
        self.stuck = ""
        self.tend(busy=True)

    def on_wish(self, wish: ParkingWish) -> None:
        """Someone asks. What is to be parked is so once the engine is ready, unless a prompt comes before."""
        self._rule.on_wish(wish)
        if isinstance(wish, Wake) or self._rule.pinned:
            self.wake()

    def wait_s(self) -> float:
        """How long nothing changes here unless a message or a prompt comes."""
        elapsed_s = self._desk.clock.now_s() - self._since_s
        if self._stage in (_Stage.LEAVING, _Stage.MOVING, _Stage.RETURNING):
            return _COPY_WAIT_S
        if self._stage is _Stage.CLAIMING:
            return CLAIM_WAIT_S
        if self._stage is _Stage.PARKED:
            return float("inf")
        left_s = (GRANT_WAIT_S if self._stage is _Stage.ASKING else self._rule.after_s()) - elapsed_s
        return max(CLAIM_WAIT_S, left_s)  # also where it is due, and the engine is not ready for it

    def on_memory(self, message: MemoryInstruction) -> bool:
        """The broker's word about this one's lease; False where it is about something else.

        Raises EngineError if the weights are lost: the worker must be started again.
        """
        match message:
            case LeaseGranted():
                if self._stage is _Stage.AWAKE:
                    return False
                self._take(message)
                return True
            case LeaseRecalled() if self._holds(message.lease_id):
                # Whatever it may keep: half of the weights are of no use to anyone.
                self._is_recalled = True
                if self._stage in (_Stage.PARKED, _Stage.CLAIMING):
                    self._move_to_host()
                return True
            case LeaseLost() if self._holds(message.lease_id):
                self._lose(message)
                return True
        return False

    def close(self) -> None:
        """Wait for what is being copied, and free what is held elsewhere; more than once is harmless."""
        with suppress(DriverError):
            if self._transfer is not None:
                self._transfer.wait()
        self._transfer = None
        for berth in self._berths():
            berth.close()
        self._berth = self._next_berth = None

    def _ask(self) -> None:
        self._rule.is_asked = False
        nbytes = self._weights.packed_bytes()
        if not nbytes:
            return
        self._size_bytes = self._device.taken_bytes(nbytes)
        self._enter(_Stage.ASKING)
        # All or nothing: weights in several places would have to be recalled from each.
        self._desk.report(Demand(self._size_bytes, self._size_bytes))

    def _await_grant(self) -> None:
        if self._is_wanted:
            self._withdraw_demand()
            self._enter(_Stage.AWAKE)
        elif self._desk.clock.now_s() - self._since_s >= GRANT_WAIT_S:
            self._withdraw_demand()
            self._leave_for(host_berth(self._device, self._size_bytes))

    def _take(self, lease: LeaseGranted) -> None:
        if self._stage is not _Stage.ASKING or self._is_wanted or lease.nbytes != self._size_bytes:
            self._desk.report(LeaseReturned(lease.lease_id, lease.nbytes))
            return
        berth = lent_berth(self._device, lease)
        if berth is not None:
            self._leave_for(berth)

    def _leave_for(self, berth: Berth | None) -> None:
        if berth is None:
            self._enter(_Stage.AWAKE)
            return
        self._berth = berth
        self._is_recalled = False
        self._transfer = self._weights.copy_out(berth.buffer)
        self._enter(_Stage.LEAVING)

    def _left(self) -> None:
        """The copy is complete; unless it is in vain, it is all that remains."""
        assert self._berth is not None
        if self._is_wanted or self._is_recalled or self._berth.is_lost:
            self._weights.stay()
            self._give_berth_back()
            if self._is_wanted:
                self._enter(_Stage.AWAKE)
            else:
                self._leave_for(host_berth(self._device, self._size_bytes))
            return
        self._weights.leave()
        self._desk.claim(Part.WEIGHTS, 0)
        self._enter(_Stage.PARKED)
        logger.info("parked: %s of weights lie on %s", format_bytes(self._size_bytes), self.where)

    def _move_to_host(self) -> None:
        """The neighbour wants its memory back."""
        assert self._berth is not None
        self._next_berth = host_berth(self._device, self._size_bytes)
        if self._next_berth is None:
            self._is_wanted = True  # the only other place is their own GPU
            return
        copy = Copy(self._next_berth.buffer.address, self._berth.buffer.address, self._weights.packed_bytes())
        self._transfer = self._device.copies.copy(Direction.OUT, [copy])
        self._enter(_Stage.MOVING)

    def _moved(self) -> None:
        self._give_berth_back()
        self._berth, self._next_berth = self._next_berth, None
        self._enter(_Stage.PARKED)

    def _lose(self, message: LeaseLost) -> None:
        assert self._berth is not None
        self._berth.is_lost = True
        if not self.is_awake:
            raise EngineError(f"the weights were parked on {self._berth.name}, whose memory is lost: {message.reason}")

    def _claim(self) -> None:
        self._enter(_Stage.CLAIMING)
        self._desk.claim(Part.WEIGHTS, self._size_bytes)
        self._await_claim()

    def _await_claim(self) -> None:
        if self._desk.wanted(Part.WEIGHTS) != self._size_bytes:
            self._stay_parked(room_text(self._desk, self._size_bytes))
        elif self._desk.settled(Part.WEIGHTS) == self._size_bytes:
            self._return()

    def _return(self) -> None:
        assert self._berth is not None
        try:
            self._transfer = self._weights.copy_in(self._berth.buffer)
        except OutOfMemoryError:
            self._desk.claim(Part.WEIGHTS, 0)
            free = format_bytes(self._device.free_bytes())
            self._stay_parked(f"{format_bytes(self._size_bytes)} are needed; other processes leave only {free}")
        else:
            self._enter(_Stage.RETURNING)

    def _stay_parked(self, reason: str) -> None:
        self.stuck = f"the model is parked and cannot be woken now: {reason}"
        logger.warning("%s", self.stuck)
        self._is_wanted = False
        self._enter(_Stage.PARKED)

    def _returned(self) -> None:
        self._weights.arrive()
        self._give_berth_back()
        self._enter(_Stage.AWAKE)
        logger.info("awake: %s of weights are back on GPU %d", format_bytes(self.gpu_bytes), self._device.gpu_index)

    def _await_copy(self) -> None:
        assert self._transfer is not None
        if not self._transfer.done():
            return
        self._transfer = None
        {_Stage.LEAVING: self._left, _Stage.MOVING: self._moved, _Stage.RETURNING: self._returned}[self._stage]()

    def _berths(self) -> list[Berth]:
        return [berth for berth in (self._berth, self._next_berth) if berth is not None]

    def _holds(self, lease_id: int) -> bool:
        lease = self._berth.lease if self._berth is not None else None
        return lease is not None and lease.lease_id == lease_id

    def _give_berth_back(self) -> None:
        berth, self._berth = self._berth, None
        assert berth is not None
        if berth.lease is not None:
            self._withdraw_demand()
        berth.close()

    def _withdraw_demand(self) -> None:
        self._desk.report(Demand(0, self._size_bytes))

    def _enter(self, stage: _Stage) -> None:
        self._stage = stage
        self._since_s = self._desk.clock.now_s()
        if stage is _Stage.AWAKE:
            self._is_wanted = False
