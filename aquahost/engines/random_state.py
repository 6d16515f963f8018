"""A random stream for each prompt, out of torch's single global one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from aquahost.errors import InvalidRequestError

MAX_SEED = 2**63 - 1


class RandomState:
    """The state of torch's global generators as one prompt sees it.

    Samplers of transformers and some schedulers of diffusers draw from the global generators. As exactly one prompt
    computes at a time, swapping their state at the gate gives each prompt the stream it would have had alone.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        self._device = device
        self._seed = seed
        self._states: list[torch.Tensor] | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """While entered, the global generators continue this prompt's stream; torch computes on its device."""
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)  # the current device is a thread's own
        generators = self._generators()
        outer = [generator.get_state() for generator in generators]
        if self._states is None:
            for generator in generators:
                generator.manual_seed(self._seed)
        else:
            _restore(generators, self._states)
        try:
            yield
        finally:
            self._states = [generator.get_state() for generator in generators]
            _restore(generators, outer)

    def _generators(self) -> list[torch.Generator]:
        generators = [torch.default_generator]
        if self._device.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]
            index = self._device.index if self._device.index is not None else torch.cuda.current_device()
            generators.append(torch.cuda.default_generators[index])
        return generators


def _restore(generators: list[torch.Generator], states: list[torch.Tensor]) -> None:
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)


def choose_seed(seed: int | None) -> int:
    """The seed asked for, or a fresh one. Raises InvalidRequestError for "seed" if out of range."""
    if seed is None:
        return secrets.randbelow(MAX_SEED)
    if not 0 <= seed <= MAX_SEED:
        raise InvalidRequestError(f"seed must lie between 0 and {MAX_SEED}, not {seed}", param="seed")
    return seed
