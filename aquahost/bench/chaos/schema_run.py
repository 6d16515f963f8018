"""`aquahost chaos schema`: requests made from the API's own OpenAPI document, right and wrong ones."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquahost.bench.chaos.asks import make_asks
from aquahost.bench.chaos.crowd import expected_replies
from aquahost.bench.chaos.host import ChaosHost
from aquahost.bench.chaos.models import ADMIN_KEY, write_models
from aquahost.bench.chaos.report import Check, Report, none_of, times
from aquahost.bench.chaos.rest import checks_at_rest, come_to_rest
from aquahost.bench.private_daemon import private_daemon
from aquahost.errors import StartError

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_STEERING = ("/control/shutdown", "/control/drain", "/control/models/")
"""They do what they are asked, after which there is nothing left to ask."""
_ENDLESS = ("/control/events", "/control/watch", "/control/logs")
"""Streams that end with the daemon, or never."""
_ANSWER_S = 120.0
_KEPT = 10
_BATCH = 250
"""Cases between two words on how far it is."""


class SchemaFuzzer:
    """Calls what schemathesis makes of the document, and counts the answers."""

    def __init__(self, url: str, models: dict[str, str], seed: int) -> None:
        """`models`: their kinds, by name."""
        self._url, self._seed = url, seed
        self._names = {route: _of_kinds(models, kinds) for route, kinds in _ROUTES.items()}
        self.statuses: Counter[int] = Counter()
        self.bad: list[str] = []
        """Cases answered with 5xx, and how."""
        self.unanswered: list[str] = []
        self.took_s: list[float] = []

    def run(self, cases: int, say: Callable[[str], None]) -> None:
        """Make so many calls, one after the other. Raises StartError without schemathesis, a development tool."""
        try:
            import requests
            import schemathesis
            from hypothesis import HealthCheck, Phase, given, settings, strategies
            from hypothesis import seed as seeded
        except ImportError as error:
            raise StartError("chaos schema needs schemathesis; install it with: pip install 'aquahost[dev]'") from error
        schema = schemathesis.openapi.from_url(f"{self._url}/openapi.json")
        anything = strategies.one_of(list(_strategies(schema)))
        with requests.Session() as session:
            for number, begin in enumerate(range(0, cases, _BATCH)):
                rules = settings(
                    max_examples=min(_BATCH, cases - begin),
                    database=None,
                    deadline=None,
                    phases=(Phase.generate,),
                    suppress_health_check=list(HealthCheck),
                )

                @seeded(self._seed * 1_000_003 + number)
                @rules
                @given(case=anything, named=strategies.integers(0, 4))
                def call(case: Any, named: int) -> None:
                    self._call(session, case, named)

                call()
                say(f"{self.statuses.total() + len(self.unanswered):,} requests answered")

    def _call(self, session: Any, case: Any, named: int) -> None:
        import requests

        names = self._names.get(case.path, [])
        if named and names and isinstance(case.body, dict):
            case.body["model"] = names[named % len(names)]  # or hardly any would get as far as a model
        key = {"Authorization": f"Bearer {ADMIN_KEY}"}
        began_s = time.monotonic()
        try:
            reply = case.call(base_url=self._url, session=session, headers=key, timeout=_ANSWER_S)
        except requests.RequestException as error:
            self.unanswered.append(f"{case.method} {case.path}: {type(error).__name__}: {error}")
            return
        self.took_s.append(time.monotonic() - began_s)
        self.statuses[reply.status_code] += 1
        if reply.status_code >= 500:
            self.bad.append(f"{case.as_curl_command()} was answered {reply.status_code}: {reply.text[:200]}")


_ROUTES = {
    "/v1/chat/completions": ("toy", "llm"),
    "/v1/completions": ("toy", "llm"),
    "/v1/images/generations": ("image",),
    "/v1/audio/speech": ("audio",),
}
"""Which kinds of model each route is for."""


def _of_kinds(models: dict[str, str], kinds: tuple[str, ...]) -> list[str]:
    return [name for name, kind in models.items() if kind in kinds]


def _strategies(schema: Any) -> Iterator[SearchStrategy[Any]]:
    """For each operation that may be called, requests as it describes them; and such as are wrong, where it takes
    anything that can be."""
    from schemathesis import GenerationMode

    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.startswith((*_STEERING, *_ENDLESS)) or operation.path.endswith("/output"):
            continue
        yield operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        if operation.body:
            # Bodies are where there is most to be wrong.
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE, GenerationMode.NEGATIVE):
                yield operation.as_strategy(generation_mode=mode)


def run_schema(*, cases: int, seed: int, toys_only: bool, say: Callable[[str], None]) -> Report:
    """Send so many requests to a daemon of its own. Raises StartError if that does not come up."""
    with tempfile.TemporaryDirectory(prefix="aquahost-chaos.") as folder:
        models = write_models(Path(folder), toys_only=toys_only, with_sound=True)
        say("starting a daemon …")
        with private_daemon(models) as daemon:
            return asyncio.run(_run(ChaosHost(daemon, models), cases, seed, say))


async def _run(host: ChaosHost, cases: int, seed: int, say: Callable[[str], None]) -> Report:
    began_s = time.monotonic()
    kinds = {model.name: model.kind for model in (await host.snapshot()).models}
    asks = make_asks({"toy": "toy"}, seed)
    expected = await expected_replies(host, asks, len(asks))
    first = await come_to_rest(host)
    fuzzer = SchemaFuzzer(host.url, kinds, seed)
    await asyncio.to_thread(fuzzer.run, cases, say)
    died = [model.name for model in (await host.snapshot()).models if model.restarts]
    same = await expected_replies(host, asks, len(asks)) == expected
    counts = {f"answered {status}": count for status, count in sorted(fuzzer.statuses.items())}
    return Report(
        counts={"requests": fuzzer.statuses.total() + len(fuzzer.unanswered), **counts},
        checks=[
            Check(name="status 5xx", found=len(fuzzer.bad), details=fuzzer.bad[:_KEPT]),
            Check(name="no answer", found=len(fuzzer.unanswered), details=fuzzer.unanswered[:_KEPT]),
            none_of("workers that died", died),
            none_of("other replies than before", [] if same else ["of toy"]),
            *await checks_at_rest(host, first),
        ],
        times=[times("request → its answer", fuzzer.took_s)],
        took_s=time.monotonic() - began_s,
    )
