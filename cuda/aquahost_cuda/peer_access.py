"""Whether a GPU may reach another's memory as far as driver and NVML know, with the reason for every no."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aquahost_cuda.check import DriverError, call
from aquahost_cuda.driver import Driver, driver_name, physical_index
from aquahost_cuda.nvml import Nvml


@dataclass(frozen=True, slots=True)
class PeerAccess:
    """Looks up what is advertised: whether it holds is for a test to find."""

    driver: Driver
    nvml: Nvml | None = None
    handles: dict[int, Any] = field(default_factory=dict)
    """NVML's handles by GPU number, of those that it knows."""

    def why_not(self, gpu: int, peer: int) -> str | None:
        """Why `gpu` can't reach memory of `peer`; None if nothing speaks against it."""
        driver = self.driver
        supported = driver.CUdevice_P2PAttribute.CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED
        try:
            devices = call(driver.cuDeviceGet, gpu), call(driver.cuDeviceGet, peer)
            allowed = call(driver.cuDeviceCanAccessPeer, *devices)
            allowed = allowed and call(driver.cuDeviceGetP2PAttribute, supported, *devices)
        except DriverError as error:
            return str(error)
        if allowed:
            return None
        because = self.nvml.why_no_p2p(*self._pair(gpu, peer)) if self.nvml and self._knows(gpu, peer) else None
        return f"no peer access from GPU {gpu} to GPU {peer}" + (f": {because}" if because else "")

    def describe(self, gpu: int, peer: int) -> str:
        """What lies between two GPUs that reach each other."""
        if physical_index(self.driver, gpu) == physical_index(self.driver, peer):
            return "the same GPU"
        if driver_name(self.driver) == "emulated":
            return "emulated link"
        if self.nvml is None or not self._knows(gpu, peer):
            return "peer access"
        return "NVLink" if self.nvml.has_nvlink(*self._pair(gpu, peer)) else "PCIe"

    def nvlinks(self, gpu: int) -> int | None:
        """How many NVLinks of a GPU are up; None where NVML does not know it."""
        if self.nvml is None or gpu not in self.handles:
            return None
        return self.nvml.active_nvlinks(self.handles[gpu])

    def _knows(self, gpu: int, peer: int) -> bool:
        return gpu in self.handles and peer in self.handles

    def _pair(self, gpu: int, peer: int) -> tuple[Any, Any]:
        return self.handles[gpu], self.handles[peer]
