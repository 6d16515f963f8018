"""A process of its own that streams tokens through the API, then says on stdout what one cost in CPU time.

    python token_cost_server.py STREAMS TOKENS STEP_S

First line: the port. Second line, once every stream has ended: microseconds of CPU per streamed token.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time

import uvloop

from api_server import serving
from aquahost.api.app import build_app
from aquahost.messages.prompts import FinishReason, Request
from fake_daemon import FakeDaemon, FakeStream


async def main(streams: int, tokens: int, step_s: float) -> None:
    all_here = asyncio.Event()

    def script(stream: FakeStream, _: Request) -> None:
        stream.accept()
        if len(daemon.streams) == streams:
            all_here.set()

    daemon = FakeDaemon(script=script)
    async with serving(build_app(daemon)) as url:
        say(url.rpartition(":")[2])
        await all_here.wait()
        await asyncio.sleep(0.2)
        gc.collect()
        gc.freeze()  # as the daemon does once it serves
        start_s = time.process_time()
        for _ in range(tokens):
            for stream in daemon.live:
                stream.say(" word")
            await asyncio.sleep(step_s)
        spent_s = time.process_time() - start_s
        for stream in daemon.live:
            stream.finish(FinishReason.LENGTH, tokens)
        say(f"{spent_s / (streams * tokens) * 1e6:.1f}")
        await asyncio.sleep(0.2)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
