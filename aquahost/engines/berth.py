"""Memory that holds a parked model's weights: a neighbour's, lent for this, or the host's."""

from __future__ import annotations

import logging
from contextlib import suppress

from aquahost.engines.device import EngineDevice
from aquahost.messages.memory import LeaseFailed, LeaseGranted, LeaseMapped, LeaseReturned
from aquahost.units import format_bytes
from aquahost_cuda.check import DriverError
from aquahost_cuda.vmm import Buffer, Location

logger = logging.getLogger(__name__)


class Berth:
    """Owns that memory until `close`, which gives its lease back, if it has one."""

    def __init__(self, device: EngineDevice, buffer: Buffer, lease: LeaseGranted | None = None) -> None:
        """Made by `lent_berth` and `host_berth`."""
        self._desk = device.desk
        self.buffer = buffer
        self.lease = lease
        self.is_lost = False
        """Whether the lease's memory is gone; then there is nothing to give back."""

    @property
    def name(self) -> str:
        """For people: "host", or "GPU 3"."""
        return "host" if self.lease is None else f"GPU {self.lease.donor}"

    @property
    def host_bytes(self) -> int:
        """Host memory it takes."""
        return self.buffer.nbytes if self.lease is None else 0

    @property
    def borrowed_bytes(self) -> int:
        """Lent memory it takes."""
        return self.buffer.nbytes if self.lease is not None else 0

    def close(self) -> None:
        """Free the memory, then say so to the broker."""
        if self.lease is None or not self.is_lost:
            self.buffer.close()
            if self.lease is not None:
                self._desk.report(LeaseReturned(self.lease.lease_id, self.lease.nbytes))
            return
        with suppress(DriverError):  # what lay on a lost GPU
            self.buffer.close()


def lent_berth(device: EngineDevice, lease: LeaseGranted) -> Berth | None:
    """The whole lease, mapped; None where it can't be. The broker is told either way."""
    try:
        buffer = device.buffer(lease.nbytes, Location.device(lease.donor))
    except DriverError as error:
        device.desk.report(LeaseFailed(lease.lease_id, str(error)))
        return None
    device.desk.report(LeaseMapped(lease.lease_id))
    return Berth(device, buffer, lease)


def host_berth(device: EngineDevice, nbytes: int) -> Berth | None:
    """Pinned host memory; None, and a line in the log, where there is none to be had."""
    try:
        return Berth(device, device.buffer(nbytes, Location.host()))
    except DriverError as error:
        logger.warning("the host has no %s for parked weights: %s", format_bytes(nbytes), error)
        return None
