"""Which logical GPU is part of which physical one, and how much memory each may hold."""

from __future__ import annotations

import threading
from typing import Any

from aquahost_cuda.accounting import Accounts
from aquahost_cuda.check import call
from aquahost_cuda.partitioned.holdings import Holdings
from aquahost_cuda.protocol import Driver
from aquahost_cuda.vmm import Location, granularity

NO_GPU = -1
"""A device's number that every driver refuses with CUDA_ERROR_INVALID_DEVICE."""


class Parts:
    """What the calls of one partitioned driver share. Logical GPU `i` is part `i % count` of physical GPU
    `i // count`."""

    def __init__(self, driver: Driver, count: int, path: str, spare_bytes: int) -> None:
        """Raises DriverError, OSError, or ValueError: see PartitionedDriver."""
        if count < 1:
            raise ValueError(f"a GPU can't be shown as {count} parts")
        self.underlying = driver
        self.count = count
        self._devices = [call(driver.cuDeviceGet, index) for index in range(int(call(driver.cuDeviceGetCount)))]
        self.page_bytes = [granularity(driver, Location.device(index)) for index in range(len(self._devices))]
        """Granularity of each physical GPU."""
        self.budgets_bytes: list[int] = []
        """Memory of each logical GPU."""
        for device, page in zip(self._devices, self.page_bytes, strict=True):
            share = (int(call(driver.cuDeviceTotalMem, device)) - spare_bytes) // count // page * page
            if share <= 0:
                raise ValueError(f"the GPU's memory is too small for {count} parts")
            self.budgets_bytes += [share] * count
        self.accounts = Accounts(path, self.budgets_bytes)
        self.holdings = Holdings(self.accounts)
        self._current = threading.local()

    def physical_index(self, gpu: int) -> int:
        """The physical GPU that a logical one is part of."""
        return gpu // self.count

    def siblings(self, gpu: int) -> range:
        """The logical GPUs of the same physical one, `gpu` itself among them."""
        first = self.physical_index(gpu) * self.count
        return range(first, first + self.count)

    def device(self, dev: Any) -> Any:
        """The underlying driver's CUdevice of a logical GPU; NO_GPU if there is none."""
        known = 0 <= int(dev) < len(self.budgets_bytes)
        return self._devices[self.physical_index(int(dev))] if known else NO_GPU

    def gpu_at(self, location: Any) -> int | None:
        """The logical GPU that a location names; None for the host, and for a GPU that is not there."""
        names_gpu = location.type == self.underlying.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        return int(location.id) if names_gpu and 0 <= location.id < len(self.budgets_bytes) else None

    def location(self, location: Any) -> Any:
        """The same place as the underlying driver numbers it."""
        translated = self.underlying.CUmemLocation()
        translated.type, translated.id = location.type, location.id
        if location.type == self.underlying.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE:
            gpu = self.gpu_at(location)
            translated.id = NO_GPU if gpu is None else self.physical_index(gpu)
        return translated

    def memory_of(self, gpu: int) -> tuple[int, int]:
        """(free, total) bytes of a budget, all processes counted."""
        budget_bytes = self.budgets_bytes[gpu]
        return max(0, budget_bytes - self.accounts.used_bytes()[gpu]), budget_bytes

    @property
    def current_gpu(self) -> int | None:
        """The logical GPU whose context the calling thread made current last."""
        gpu: int | None = getattr(self._current, "gpu", None)
        return gpu

    @current_gpu.setter
    def current_gpu(self, gpu: int | None) -> None:
        self._current.gpu = gpu

    def code(self, name: str) -> Any:
        """A result code by name."""
        return getattr(self.underlying.CUresult, name)
