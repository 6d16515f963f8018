"""A model folder's weights into a model, with progress in bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from aquahost.config.settings import ModelSettings
from aquahost.engines.checkpoint import Checkpoint
from aquahost.engines.device import EngineDevice
from aquahost.engines.engine import ReportProgress
from aquahost.engines.llm.paged_attention import ATTENTION_NAME, register
from aquahost.errors import LoadError
from aquahost.messages.wire import LoadProgress


class ByteProgress:
    """Counts the checkpoint's bytes as transformers goes through its parameters."""

    def __init__(self, checkpoint: Checkpoint, report: ReportProgress) -> None:
        self._sizes = {tensor.name: tensor.stored_bytes for tensor in checkpoint.tensors}
        self._total_bytes = checkpoint.stored_bytes
        self._report = report
        self._done_bytes = 0

    def hook(self, factory: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """For `transformers.utils.logging.set_tqdm_hook`: stands in for the bar that wraps the parameters."""
        if keywords.get("desc") == "Loading weights" and args:
            return self._through(args[0])
        return factory(*args, **keywords)

    def finish(self) -> None:
        """All bytes are loaded."""
        self._report(LoadProgress("loading weights", self._total_bytes, self._total_bytes))

    def _through(self, parameters: Any) -> Iterator[Any]:
        average = self._total_bytes // max(len(parameters), 1)  # for parameters that go by another name in the file
        for item in parameters:
            yield item
            self._done_bytes = min(self._done_bytes + self._sizes.get(item[0], average), self._total_bytes)
            self._report(LoadProgress("loading weights", self._done_bytes, self._total_bytes))


def stored_dtype(config: Any) -> torch.dtype:
    """The dtype that a model's config states; bfloat16 where it states none."""
    stated = getattr(config, "dtype", None)
    return stated if isinstance(stated, torch.dtype) else torch.bfloat16


def load_weights(
    folder: Path,
    settings: ModelSettings,
    dtype: torch.dtype,
    checkpoint: Checkpoint,
    device: EngineDevice,
    report: ReportProgress,
) -> Any:
    """The causal language model in `folder` on the CPU or the GPU's torch device, with our attention, in eval mode.

    Raises LoadError for weights that are missing, damaged or of another shape.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    register()
    progress = ByteProgress(checkpoint, report)
    placement = {} if device.torch_device.type == "cpu" else {"device_map": {"": device.torch_device}}
    previous = transformers_logging.set_tqdm_hook(progress.hook)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=ATTENTION_NAME,
            use_safetensors=True,
            variant=checkpoint.variant,
            local_files_only=True,
            trust_remote_code=settings.trust_remote_code,
            output_loading_info=True,
            **placement,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise LoadError(f"{folder} can't be loaded: {error}") from error
    finally:
        transformers_logging.set_tqdm_hook(previous)
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        raise LoadError(f"{folder} lacks {len(missing)} of the model's weights, among them {missing[0]}")
    progress.finish()
    model.requires_grad_(False)
    if device.torch_device.type == "cpu":
        _lay_out_head(model)
    return model.eval()


def _lay_out_head(model: Any) -> None:
    """Store the vocabulary's matrix column by column: a decode step's product with it is then a third of the time.

    Measured with the CPU's BLAS at [1, 256] x [256, 4096]: 0.16 ms against 0.47 ms; narrower matrices gain nothing.
    One that is tied to the embedding stays, since its rows are looked up.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if isinstance(head, torch.nn.Linear) and head.weight.data_ptr() != embedding.weight.data_ptr():
        head.weight.data = head.weight.data.T.contiguous().T
