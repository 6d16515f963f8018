"""Sends a trace's prompts when they are due, to whatever server, and notes when their replies come."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from aquahost.bench.http_stream import Server
from aquahost.bench.tiny_llama import VOCABULARY
from aquahost.errors import RequestError
from aquahost.traces.replies import Reply
from aquahost.traces.trace import TracePrompt

T = TypeVar("T")

_PATIENCE_S = 1800.0
"""After which a prompt without an end has failed."""
_WORDS = """
the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you
were all her she there would their we him been has when who will no more if out so up said what its about than into them
can only other time new some could these two may first then do any like my now over such our man me even most made after
also did many off before must well back through years where much your way down should
"""
"""Common enough to be one token each, with their space, in most vocabularies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server, and how prompts are put to it."""

    server: Server
    model: str
    """For prompts that name none."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """API keys by tenant; "" stands for any other."""
    token_ids: bool = True
    """Send token ids, whose number is exact; else words, about as many."""

    def request(self, prompt: TracePrompt, contents: str) -> bytes:
        """The request for `prompt`. What it says differs from one `contents` to the next, so that no server answers
        from what it has cached of an earlier replay."""
        generator = random.Random(f"{contents}/{prompt.number}")
        said: list[int] | str
        if self.token_ids:
            said = [generator.randrange(2, VOCABULARY) for _ in range(prompt.input_tokens)]
        else:
            said = " ".join(generator.choices(_WORDS.split(), k=prompt.input_tokens))
        body: dict[str, Any] = {
            "model": prompt.model or self.model,
            "prompt": said,
            "max_tokens": prompt.output_tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        return self.server.request(body, self.keys.get(prompt.tenant) or self.keys.get("", ""))


def server_at(url: str) -> Server:
    """Where completions are posted under a base URL like http://127.0.0.1:8000/v1. Raises ValueError for any other."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no http://HOST:PORT/v1")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = f"{parts.path.rstrip('/')}/completions"
    return Server(host=parts.hostname, port=port, path=path, tls=parts.scheme == "https")


def replay(
    target: Target, prompts: Sequence[TracePrompt], contents: str, on_end: Callable[[], None] = lambda: None
) -> list[Reply]:
    """Send every prompt when it is due; `on_end` is called at each one's end. A prompt that fails is a failed reply."""
    return _run(_replay(target, prompts, contents, on_end))


def prefill_floor_s(target: Target, prompts: Sequence[TracePrompt], contents: str) -> float | None:
    """Seconds from sending all prompts at once, for one token each, until the last one's came; None if one failed."""
    asked = [replace(prompt, arrival_s=0.0, output_tokens=1) for prompt in prompts]
    replies = replay(target, asked, contents)
    return None if any(reply.failure for reply in replies) else max(reply.ttft_s for reply in replies)


def _run(what: Coroutine[Any, Any, T]) -> T:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(what)


async def _replay(
    target: Target, prompts: Sequence[TracePrompt], contents: str, on_end: Callable[[], None]
) -> list[Reply]:
    requests = [target.request(prompt, contents) for prompt in prompts]
    begin_s = time.perf_counter()
    return await asyncio.gather(
        *(
            _one(target.server, prompt, request, begin_s, on_end)
            for prompt, request in zip(prompts, requests, strict=True)
        )
    )


async def _one(
    server: Server, prompt: TracePrompt, request: bytes, begin_s: float, on_end: Callable[[], None]
) -> Reply:
    await asyncio.sleep(begin_s + prompt.arrival_s - time.perf_counter())
    try:
        async with asyncio.timeout(_PATIENCE_S):
            times = await server.exchange(request)
    except RequestError as error:
        return Reply(prompt=prompt, failure=error.message if error.status == 200 else f"HTTP {error.status}")
    except TimeoutError:
        return Reply(prompt=prompt, failure=f"no end after {_PATIENCE_S:.0f} s")
    except OSError as error:
        return Reply(prompt=prompt, failure=error.strerror or type(error).__name__)
    finally:
        on_end()
    return Reply(
        prompt=prompt,
        chunk_s=[moment_s - begin_s for moment_s in times.chunk_s],
        done_s=times.done_s - begin_s,
        input_tokens=times.input_tokens,
        output_tokens=times.output_tokens or len(times.chunk_s),
    )
