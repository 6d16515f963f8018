"""Weights that stay where they were placed, whatever a pipeline does to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def weights_as_placed(pipeline: Any) -> Iterator[None]:
    """On leaving, autoencoders that pipelines cast for a decode have the weights they had on entering.

    Pipelines such as SDXL's make a float16 autoencoder float32 for the decode and float16 again afterwards: in new
    memory, which no emulated GPU accounts for, and not at all if the decode fails, which would fail every later one.
    Nothing passes the gate in between, so that all prompts see the placed weights.
    """
    parts = getattr(pipeline, "components", {}).values()
    cast = [p for p in parts if isinstance(p, torch.nn.Module) and _force_upcast(p)]
    placed = [(parameter, parameter.data) for part in cast for parameter in part.parameters()]
    try:
        yield
    finally:
        for parameter, data in placed:
            parameter.data = data


def _force_upcast(part: Any) -> bool:
    return bool(getattr(getattr(part, "config", None), "force_upcast", False))
