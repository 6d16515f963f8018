"""Runs the model on packed batches."""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import torch

from aquahost.engines.llm.batch import PackedBatch
from aquahost.engines.llm.paged_attention import BATCH_KEYWORD, AttentionBatch
from aquahost.engines.llm.step_threads import StepThreads


class PagedAttention(Protocol):
    """How attention is carried out: by gathering or by a paged kernel."""

    def begin(self, batch: PackedBatch) -> AttentionBatch:
        """Attention of one step."""
        ...


class ModelRunner:
    """Holds the model; everything that runs on the device for a step's forward runs from here."""

    def __init__(self, model: Any, attention: PagedAttention) -> None:
        """`model`: a causal language model loaded with our attention."""
        self.model = model
        """The causal language model; to be called by this class alone."""
        self.attention = attention
        """Which it is; chosen at load."""
        self._threads = StepThreads(model)
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters

    def forward(self, batch: PackedBatch) -> torch.Tensor:
        """Logits [outputs, vocabulary] in float32, writable, of the tokens in `batch.outputs`."""
        self._threads.fit(batch.tokens)
        keywords: dict[str, Any] = {BATCH_KEYWORD: self.attention.begin(batch)}
        if self._keeps_logits and batch.outputs is not None:
            keywords["logits_to_keep"] = batch.outputs if len(batch.outputs) else 1
        output = self.model(
            input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False, return_dict=True, **keywords
        )
        logits: torch.Tensor = output.logits[0]
        if batch.outputs is not None and not (self._keeps_logits and len(batch.outputs)):
            logits = logits[batch.outputs]
        return logits.float()
