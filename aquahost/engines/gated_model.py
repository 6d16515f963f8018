"""What a gated engine needs to know of its model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from aquahost.engines.gate import Arrive
from aquahost.messages.prompts import Request
from aquahost.messages.wire import Footprint

TRIAL_TEXT = "a red house by a lake"
TRIAL_STEPS = 2
TRIAL_GUIDANCE = 5.0
"""Guidance doubles what a step works on, so it is measured with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A finished image or sound."""

    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A valid request, ready to run."""

    work: Callable[[Arrive], Made]
    """Raises errors.RequestError where only running it shows that the request can't be served."""
    seed: int
    """Start of the job's own random stream."""
    size: float
    """What its memory grows with: pixels, tokens or seconds."""
    steps: int | None = None
    """Steps it will take, where that is known beforehand."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A request whose memory is worth measuring."""

    name: str
    """Its size for people, like "512 x 512 pixels"."""
    request: Request


class GatedModel(Protocol):
    """Loaded weights and the knowledge of what may be asked of them."""

    @property
    def footprint(self) -> Footprint:
        """The model's share of its GPU."""
        ...

    @property
    def torch_device(self) -> torch.device:
        """Where it computes."""
        ...

    def prepare(self, request: Request) -> Job:
        """Check a request, without touching a weight. Raises errors.InvalidRequestError naming the field at fault."""
        ...

    def trials(self) -> Sequence[Trial]:
        """Requests from small to the largest that may be asked for, each several times the one before."""
        ...


def doubling(first: float, last: float) -> list[float]:
    """first, twice that, four times that, … and last."""
    sizes = []
    size = first
    while size < last:
        sizes.append(size)
        size *= 2
    return [*sizes, last]
