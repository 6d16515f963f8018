"""How GPUs reach each other, found by a process of its own: the daemon itself holds no context on any GPU."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import msgspec

from aquahost.errors import StartError
from aquahost.messages.snapshot import LinkView
from aquahost.worker.spec import DriverSpec

PATIENCE_S = 60.0
FAREWELL_S = 5.0


class _Found(msgspec.Struct):
    """What of the probe's answer matters here."""

    links: list[LinkView]


async def probe_links(driver: DriverSpec, cache: Path) -> list[LinkView]:
    """Test and measure every link, or take what `cache` knows of these GPUs since the machine was booted.

    Raises StartError if the probe fails, or takes longer than `PATIENCE_S`.
    """
    line = [sys.executable, "-P", "-m", "aquahost_cuda.probe", "--driver", driver.choice, "--cache", str(cache)]
    if driver.node is not None:
        line += ["--node", msgspec.json.encode(driver.node).decode()]
    if driver.partition_path is not None:
        line += ["--partition", str(driver.partition), "--partition-path", driver.partition_path]
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *line, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        raise StartError(f"the test of links could not be started: {error}") from error
    try:
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    except TimeoutError:
        raise StartError(f"the links between GPUs could not be tested within {PATIENCE_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            # One that is stuck in the driver does not even die of that; it must not hold the daemon up.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), FAREWELL_S)
    if process.returncode != 0:
        said = errors.decode(errors="replace").strip().splitlines()
        raise StartError(said[-1] if said else f"the test of links ended with status {process.returncode}")
    try:
        return msgspec.json.decode(output, type=_Found).links
    except msgspec.MsgspecError as error:
        raise StartError(f"the test of links answered what makes no sense: {error}") from error
