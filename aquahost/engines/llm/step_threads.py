"""How many CPU threads a step's forward gets."""

from __future__ import annotations

from typing import Any

import torch

WIDE_STEP_BYTES = 128 << 20
"""Weights times tokens from which on a forward gains from more threads what their meeting at each operator costs."""


class StepThreads:
    """Runs narrow steps on one thread and wide ones on all that torch was given.

    A step of a small model is hundreds of operators of microseconds each. On two cores a second thread makes one token
    of it no faster (1.94 against 1.98 ms), but whenever another process wants a core, here the daemon and its clients,
    the first thread spins at every operator for the second: the same step then took 6 to 10 ms.
    """

    def __init__(self, model: Any) -> None:
        weights_bytes = sum(parameter.nbytes for parameter in model.parameters())
        self._wide_tokens = WIDE_STEP_BYTES / max(1, weights_bytes)
        self._most = self._now = torch.get_num_threads()

    def fit(self, tokens: int) -> None:
        """Set torch's threads for a step of so many tokens."""
        wanted = self._most if tokens >= self._wide_tokens else 1
        if wanted != self._now:
            torch.set_num_threads(wanted)
            self._now = wanted
