"""What a replayed trace came to: figures out of the times of its replies."""

from __future__ import annotations

import itertools
import statistics
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from aquahost.traces.trace import TracePrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What became of one prompt; times count from the trace's begin."""

    prompt: TracePrompt
    chunk_s: Sequence[float] = ()
    """When each chunk with text came."""
    done_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    failure: str = ""
    """Why it failed, in a few words; nothing else of a failed prompt counts."""

    @property
    def ttft_s(self) -> float:
        """From when the prompt was due, so that a client that falls behind hides nothing."""
        return (self.chunk_s[0] if self.chunk_s else self.done_s) - self.prompt.arrival_s

    @property
    def completion_s(self) -> float:
        """From when it was due to the end of its stream."""
        return self.done_s - self.prompt.arrival_s

    def tokens_within(self, begin_s: float, end_s: float) -> float:
        """Output tokens that came in a time, were every chunk worth as many."""
        if not self.chunk_s:
            return float(self.output_tokens) if begin_s <= self.done_s <= end_s else 0.0
        chunks = bisect_right(self.chunk_s, end_s) - bisect_left(self.chunk_s, begin_s)
        return self.output_tokens * chunks / len(self.chunk_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantFigures:
    """One tenant's part of a row."""

    prompts: int
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    completion_mean_s: float | None
    output_tokens: int
    token_share: float | None
    """Of the output tokens that came while every tenant had unfinished prompts; None if that was never so."""
    device_share: float | None = None
    """Of the device time while every tenant had more prompts than its share of the places, as the daemon tells; None if
    that was never so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Figures of one replay. Times are None where no prompt gives any."""

    policy: str
    tier: str
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    ttft_p99_s: float | None
    ttft_max_s: float | None
    itl_p50_s: float | None
    """Between successive chunks of a stream, over all streams; a chunk of several tokens is one."""
    itl_p99_s: float | None
    longest_gap_s: float | None
    """The longest of them in any stream."""
    completion_mean_s: float | None
    completion_p99_s: float | None
    output_tokens_per_s: float
    """All output tokens, over the time from the first arrival to the last completion."""
    paged_bytes: int | None = None
    """Between local, peer and host memory, both ways; None where the server does not say."""
    prompts: int
    failed: int
    failures: dict[str, int]
    """How often for what reason."""
    input_tokens: int
    output_tokens: int
    took_s: float
    tenants: dict[str, TenantFigures] = field(default_factory=dict)
    slice_p50_s: float | None = None
    """How long prompts ran before they gave way, as the daemon said a few times a second; None where nobody had to."""
    gap_bound_s: float | None = None
    """What `longest_gap_s` should not exceed: 2 × (live ÷ running prompts) × slice, at its largest."""
    others_cores: float | None = None
    """Cores of this machine that were busy with something else meanwhile; None where that is not known."""
    runs: list[float] = field(default_factory=list)
    """Output tokens/s of every run; the row is the median one."""
    medians: dict[str, float | None] = field(default_factory=dict)
    """Of each time and rate its own median over the runs, which need not belong together."""


def row(policy: str, tier: str, replies: Sequence[Reply], paged_bytes: int | None = None) -> Row:
    """The figures of `replies`; only prompts that succeeded count, but for `prompts` and `failed`."""
    good = [reply for reply in replies if not reply.failure]
    ttft_s = sorted(reply.ttft_s for reply in good)
    gaps_s = _gaps(good)
    completion_s = sorted(reply.completion_s for reply in good)
    output_tokens = sum(reply.output_tokens for reply in good)
    first_s = min((reply.prompt.arrival_s for reply in replies), default=0.0)
    took_s = max((reply.done_s for reply in good), default=first_s) - first_s
    return Row(
        policy=policy,
        tier=tier,
        ttft_p50_s=quantile(ttft_s, 0.5),
        ttft_p95_s=quantile(ttft_s, 0.95),
        ttft_p99_s=quantile(ttft_s, 0.99),
        ttft_max_s=quantile(ttft_s, 1),
        itl_p50_s=quantile(gaps_s, 0.5),
        itl_p99_s=quantile(gaps_s, 0.99),
        longest_gap_s=quantile(gaps_s, 1),
        completion_mean_s=statistics.fmean(completion_s) if completion_s else None,
        completion_p99_s=quantile(completion_s, 0.99),
        output_tokens_per_s=output_tokens / took_s if took_s > 0 else 0.0,
        paged_bytes=paged_bytes,
        prompts=len(replies),
        failed=len(replies) - len(good),
        failures=dict(Counter(reply.failure for reply in replies if reply.failure)),
        input_tokens=sum(reply.input_tokens for reply in good),
        output_tokens=output_tokens,
        took_s=took_s,
        tenants=_tenants(good),
    )


def _gaps(replies: Sequence[Reply]) -> Sequence[float]:
    """Times between successive chunks of a stream, over all streams, sorted; there may be millions."""
    import numpy as np

    gaps = [np.diff(np.asarray(reply.chunk_s, dtype=np.float64)) for reply in replies if len(reply.chunk_s) > 1]
    return cast("Sequence[float]", np.sort(np.concatenate(gaps))) if gaps else ()


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which `share` of sorted values lie, on the line between the two nearest; None of no values."""
    if not len(ordered):
        return None
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


def _tenants(good: Sequence[Reply]) -> dict[str, TenantFigures]:
    names = sorted({reply.prompt.tenant for reply in good} - {""})
    of = {name: [reply for reply in good if reply.prompt.tenant == name] for name in names}
    shares = _shares(of) if len(of) > 1 else {}
    figures = {}
    for name, replies in of.items():
        ttft_s = sorted(reply.ttft_s for reply in replies)
        figures[name] = TenantFigures(
            prompts=len(replies),
            ttft_p50_s=quantile(ttft_s, 0.5),
            ttft_p99_s=quantile(ttft_s, 0.99),
            completion_mean_s=statistics.fmean(reply.completion_s for reply in replies),
            output_tokens=sum(reply.output_tokens for reply in replies),
            token_share=shares.get(name),
        )
    return figures


def _shares(of: dict[str, list[Reply]]) -> dict[str, float]:
    """Each tenant's share of the tokens that came while all of them had unfinished prompts."""
    times = [_unfinished(replies) for replies in of.values()]
    common = times[0]
    for other in times[1:]:
        common = [
            (max(a, c), min(b, d)) for (a, b), (c, d) in itertools.product(common, other) if max(a, c) < min(b, d)
        ]
    tokens = {
        name: sum(reply.tokens_within(begin_s, end_s) for reply in replies for begin_s, end_s in common)
        for name, replies in of.items()
    }
    total = sum(tokens.values())
    return {name: n / total for name, n in tokens.items()} if total else {}


def _unfinished(replies: Iterable[Reply]) -> list[tuple[float, float]]:
    """The times, apart from each other, in which at least one of the prompts was there and not at its end."""
    spans: list[tuple[float, float]] = []
    for begin_s, end_s in sorted((reply.prompt.arrival_s, reply.done_s) for reply in replies):
        if spans and begin_s <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end_s, spans[-1][1]))
        else:
            spans.append((begin_s, end_s))
    return spans
