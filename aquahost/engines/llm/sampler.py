"""Choosing tokens: one batch at a time, each prompt by its own rules and its own random stream."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from aquahost.messages.prompts import Sampling

FIRST_CANDIDATES = 64
"""Likeliest tokens looked at first for top_p; the whole vocabulary is sorted only where they don't hold enough.
Up to 64 torch's topk is five times as fast as beyond (160 against 700 µs for 32 rows of 4,096)."""

GREEDY_TEMPERATURE = 1e-5
"""Below it the likeliest token is taken: as float32, smaller temperatures lose digits and in the end are zero."""


class SamplerState:
    """One prompt's rules, its random stream and, for penalties, what it has seen. Survives preemption."""

    def __init__(self, sampling: Sampling, input_ids: list[int], vocabulary_size: int, device: torch.device) -> None:
        self.temperature = sampling.temperature
        self.top_p = sampling.top_p
        self.top_k = sampling.top_k
        self.logprobs = sampling.logprobs
        self.is_greedy = sampling.temperature < GREEDY_TEMPERATURE
        self._random = random.Random(sampling.seed)
        self._sampling = sampling
        self._seen = self._counts = None
        self._bias: tuple[torch.Tensor, torch.Tensor] | None = None
        if sampling.repetition_penalty != 1:
            self._seen = torch.zeros(vocabulary_size, dtype=torch.bool, device=device)
            self._seen[torch.tensor(input_ids, device=device)] = True
        if sampling.presence_penalty or sampling.frequency_penalty:
            self._counts = torch.zeros(vocabulary_size, device=device)
        if sampling.logit_bias:
            ids = torch.tensor(list(sampling.logit_bias), device=device)
            self._bias = ids, torch.tensor(list(sampling.logit_bias.values()), dtype=torch.float32, device=device)
        self.adjusts = self._seen is not None or self._counts is not None or self._bias is not None
        """Whether `adjust` changes anything."""

    def draw(self) -> float:
        """Next number of the prompt's stream, in [0, 1): one a token, whatever else is in the batch."""
        return self._random.random()

    def replay(self, token_id: int) -> None:
        """Stand as after choosing `token_id`."""
        if not self.is_greedy:
            self.draw()
        self.observe(token_id)

    def adjust(self, row: torch.Tensor) -> None:
        """Apply penalties and bias to the prompt's logits in place."""
        sampling = self._sampling
        if self._seen is not None:
            penalty = sampling.repetition_penalty
            row.copy_(torch.where(self._seen, torch.where(row > 0, row / penalty, row * penalty), row))
        if self._counts is not None:
            row.sub_(self._counts * sampling.frequency_penalty + (self._counts > 0) * sampling.presence_penalty)
        if self._bias is not None:
            row.index_add_(0, *self._bias)

    def observe(self, token_id: int) -> None:
        """A token was chosen; penalties count it."""
        if self._seen is not None:
            self._seen[token_id] = True
        if self._counts is not None:
            self._counts[token_id] += 1


@dataclass(frozen=True, slots=True)
class TopLogprobs:
    """Log-probabilities of one choice, before penalties and temperature."""

    chosen: float
    top_ids: list[int]
    top: list[float]


@dataclass(frozen=True, slots=True)
class Choices:
    """One entry for each row of logits."""

    token_ids: list[int]
    """-1 where the logits were not finite."""
    logprobs: dict[int, TopLogprobs]
    """By row, for prompts that asked."""


def sample(logits: torch.Tensor, states: Sequence[SamplerState]) -> Choices:
    """Choose one token for each row of `logits` [rows, vocabulary] float32, which is overwritten."""
    asked = [i for i, state in enumerate(states) if state.logprobs is not None]
    raw = torch.log_softmax(logits[asked], -1) if asked else None
    for i, state in enumerate(states):
        if state.adjusts:
            state.adjust(logits[i])
    best, best_ids = logits.max(-1)  # a NaN anywhere in a row is its max
    chosen: list[int] = best_ids.tolist()
    finite: list[bool] = torch.isfinite(best).tolist()
    drawn = [i for i, state in enumerate(states) if finite[i] and not state.is_greedy]
    if drawn:
        rows = logits if len(drawn) == len(states) else logits[drawn]
        picks = _draw(rows, best, best_ids, drawn, states)
        for i, token_id in zip(drawn, picks, strict=True):
            chosen[i] = token_id
    for i, state in enumerate(states):
        if not finite[i]:
            chosen[i] = -1
        elif state.adjusts:
            state.observe(chosen[i])
    logprobs = {} if raw is None else _logprobs(raw, asked, states, chosen)
    return Choices(chosen, logprobs)


def _draw(
    logits: torch.Tensor, best: torch.Tensor, best_ids: torch.Tensor, rows: list[int], states: Sequence[SamplerState]
) -> list[int]:
    """Draw from each row's distribution after temperature, top_k and top_p, in this order; `best` is of all rows."""
    drawing = [states[i] for i in rows]
    device, vocabulary = logits.device, logits.shape[-1]
    peak = best if len(rows) == len(states) else best[rows]
    temperature = torch.tensor([s.temperature for s in drawing], device=device)
    # Scores are at most 0, so no temperature overflows.
    probabilities = torch.softmax((logits - peak[:, None]) / temperature[:, None], -1)
    filtered = [i for i, s in enumerate(drawing) if s.top_p < 1 or 0 < s.top_k < vocabulary]
    if filtered:
        subset = probabilities if len(filtered) == len(rows) else probabilities[filtered]
        top_p = torch.tensor([drawing[i].top_p for i in filtered], device=device)
        limits = [min(drawing[i].top_k or vocabulary, vocabulary) for i in filtered]
        first = min(vocabulary, max(FIRST_CANDIDATES, *(k for k in limits if k < vocabulary), 0))
        least = torch.zeros(len(rows), device=device)
        least[filtered] = _least_kept(subset, top_p, torch.tensor(limits, device=device), first)
        probabilities = probabilities.masked_fill(probabilities < least[:, None], 0)
    points = torch.tensor([s.draw() for s in drawing], dtype=torch.float64, device=device)
    likeliest = best_ids if len(rows) == len(states) else best_ids[rows]
    picks: list[int] = _invert(probabilities, points, likeliest).tolist()
    return picks


def _least_kept(probabilities: torch.Tensor, top_p: torch.Tensor, top_k: torch.Tensor, candidates: int) -> torch.Tensor:
    """Per row the smallest probability that top_k and then top_p keep; equal ones are kept together."""
    vocabulary = probabilities.shape[-1]
    best = probabilities.topk(candidates).values if candidates < vocabulary else _descending(probabilities)
    best = best.masked_fill(torch.arange(candidates, device=best.device) >= top_k[:, None], 0)
    mass = torch.where(top_k < vocabulary, best.sum(-1), 1.0)
    cumulative = best.cumsum(-1) / mass[:, None]
    count = (cumulative - best / mass[:, None] < top_p[:, None]).sum(-1)
    least = best.gather(-1, torch.minimum(count, top_k).clamp(1, candidates)[:, None] - 1)[:, 0]
    short = (cumulative[:, -1] < top_p) & (top_k > candidates)
    if candidates < vocabulary and bool(short.any()):
        least[short] = _least_kept(probabilities[short], top_p[short], top_k[short], vocabulary)
    return least


def _descending(values: torch.Tensor) -> torch.Tensor:
    """Each row sorted; numpy's sort of float32 takes a third of torch's time on a CPU."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy(), axis=-1)[:, ::-1].copy())
    return values.sort(-1, descending=True).values


def _invert(weights: torch.Tensor, points: torch.Tensor, likeliest: torch.Tensor) -> torch.Tensor:
    """Per row the index at which the running sum of `weights` passes `point` times their sum.

    `likeliest`, per row the index of the largest weight, where rounding leads to an index of no weight.
    """
    cumulative = weights.double().cumsum(-1)
    found = torch.searchsorted(cumulative, (points * cumulative[:, -1])[:, None], right=True)
    found.clamp_(max=weights.shape[-1] - 1)
    return torch.where(weights.gather(-1, found)[:, 0] > 0, found[:, 0], likeliest)


def _logprobs(
    raw: torch.Tensor, asked: list[int], states: Sequence[SamplerState], chosen: list[int]
) -> dict[int, TopLogprobs]:
    most = min(max(states[i].logprobs or 0 for i in asked), raw.shape[-1])
    values, ids = raw.topk(most) if most else (raw[:, :0], raw[:, :0].long())
    top, top_ids = values.tolist(), ids.tolist()
    result = {}
    for at, i in enumerate(asked):
        if chosen[i] >= 0:
            count = states[i].logprobs or 0
            result[i] = TopLogprobs(float(raw[at, chosen[i]]), top_ids[at][:count], top[at][:count])
    return result
