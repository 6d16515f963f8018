"""Record examples/burst.jsonl.gz: a burst on examples/node.yaml, with leases granted, recalled and granted again.

Run it from the repository's root: python tools/record_example.py [FILE]
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from aquahost.bench.private_daemon import PrivateDaemon, private_daemon
from aquahost.client import Client
from aquahost.clock import SystemClock
from aquahost.messages.snapshot import Snapshot
from aquahost_tui.feeds.recording import Recorder

PER_S = 4.0
ENDS_S = 56.0
TOPICS = ("a fox", "the sea", "an old clock", "two rivers", "a red kite", "winter", "a lost key", "the moon")


def main() -> None:
    """Drive and record at once."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "examples/burst.jsonl.gz")
    with private_daemon(Path("examples/node.yaml")) as daemon:
        record(daemon, target)


def record(daemon: PrivateDaemon, target: Path) -> None:
    """Record the daemon until the burst is over."""
    recorder, clock, began_s = Recorder(target), SystemClock(), time.monotonic()
    driver = threading.Thread(target=drive, args=(daemon,))
    with Client(daemon.socket) as client:
        for news in client.watch(PER_S):
            if isinstance(news, Snapshot):
                recorder.take(news, clock.now_s())
            else:
                recorder.note(news, clock.now_s())
            if not driver.ident and time.monotonic() - began_s > 2:
                driver.start()
            if time.monotonic() - began_s > ENDS_S:
                break
    recorder.close()
    driver.join()


def drive(daemon: PrivateDaemon) -> None:
    """The burst: chats of two tenants, a long prompt, then images and a sound, which want their memory back."""
    with ThreadPoolExecutor(96) as pool:
        for number in range(88):
            model, tenant = ("story", "web") if number % 4 == 3 else ("chat", ("gold", "web")[number % 2])
            pool.submit(chat, daemon, model, tenant, f"Tell me about {TOPICS[number % len(TOPICS)]}, part {number}.")
            time.sleep(0.03)
        time.sleep(14)
        for number in range(2):
            pool.submit(media, daemon, "images/generations", {"model": "paint", "prompt": f"a red circle {number}"})
        time.sleep(8)
        pool.submit(media, daemon, "audio/speech", {"model": "sing", "input": "three rising notes"})


def chat(daemon: PrivateDaemon, model: str, tenant: str, text: str) -> None:
    """One reply of a few hundred tokens, read to its end."""
    tokens = 300 + sum(map(ord, text)) * 7 % 600
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, "ignore_eos": True}
    ask(daemon, "chat/completions", {**body, "max_tokens": tokens}, tenant)


def media(daemon: PrivateDaemon, path: str, body: dict[str, object]) -> None:
    """One image or sound."""
    ask(daemon, path, body, "web")


def ask(daemon: PrivateDaemon, path: str, body: dict[str, object], tenant: str) -> None:
    """Send a prompt as a tenant and read all of the reply."""
    url = f"http://127.0.0.1:{daemon.port}/v1/{path}"
    with httpx.stream(
        "POST", url, json=body, headers={"Authorization": f"Bearer key-of-{tenant}"}, timeout=300
    ) as reply:
        for _ in reply.iter_bytes():
            pass


if __name__ == "__main__":
    main()
