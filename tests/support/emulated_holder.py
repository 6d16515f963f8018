"""A process that opens an emulated node and holds memory as told, line by line, on its standard input.

hold GPU BYTES, drop, export GPU BYTES SOCKET_FD, churn GPU TIMES; each is answered with "done".
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Callable, Iterable

from aquahost_cuda.check import OutOfMemoryError, call
from aquahost_cuda.driver import EmulatedDriver, EmulatedNode
from aquahost_cuda.vmm import Buffer, Location, grant, reserve

MESSAGE = b"from the other"


class Holder:
    """What the process holds."""

    def __init__(self, path: str) -> None:
        self.driver = EmulatedDriver(EmulatedNode(path=path, gpus=4, gpu_bytes=64 << 20))
        self.driver.cuInit(0)
        self.buffers: list[Buffer] = []

    def obey(self, command: str) -> None:
        """Carry out one line."""
        verb, *arguments = command.split()
        numbers = [int(argument) for argument in arguments]
        verbs: dict[str, Callable[..., None]] = {
            "hold": self.hold,
            "drop": self.drop,
            "export": self.export,
            "churn": self.churn,
        }
        verbs[verb](*numbers)

    def hold(self, gpu: int, nbytes: int) -> None:
        """Take memory."""
        self.buffers.append(Buffer(self.driver, gpu, nbytes))

    def drop(self) -> None:
        """Give the last back."""
        self.buffers.pop().close()

    def churn(self, gpu: int, times: int) -> None:
        """Take 40 MiB of 64 and give them back, over and over, where there is room: for one holder at a time."""
        for _ in range(times):
            with contextlib.suppress(OutOfMemoryError), Buffer(self.driver, gpu, 40 << 20):
                assert self.driver.memory_of(gpu)[0] == 24 << 20

    def export(self, gpu: int, nbytes: int, channel: int) -> None:
        """Make memory that says MESSAGE, keep it, and send a descriptor of it."""
        driver = self.driver
        kind = driver.CUmemAllocationHandleType.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
        prop = driver.CUmemAllocationProp()
        prop.type = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
        prop.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        prop.location.id = gpu
        prop.requestedHandleTypes = kind
        handle = call(driver.cuMemCreate, nbytes, prop, 0)
        address = reserve(driver, nbytes)
        call(driver.cuMemMap, address, nbytes, 0, handle, 0)
        grant(driver, address, nbytes, [Location.device(gpu)])
        ctypes.memmove(address, MESSAGE, len(MESSAGE))
        descriptor = call(driver.cuMemExportToShareableHandle, handle, kind, 0)
        with socket.socket(fileno=os.dup(channel)) as peer:
            socket.send_fds(peer, [b"x"], [descriptor])
        os.close(descriptor)


def main(path: str, commands: Iterable[str]) -> None:
    """Obey until the commands end."""
    holder = Holder(path)
    for command in commands:
        holder.obey(command)
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin)
