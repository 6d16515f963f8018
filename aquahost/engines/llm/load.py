"""From a model's entry to a running `LlmEngine`, or the reason why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from aquahost.config.settings import ModelSettings, SchedulerSettings
from aquahost.engines.checkpoint import read_checkpoint
from aquahost.engines.device import EngineDevice
from aquahost.engines.dtypes import choose_dtype
from aquahost.engines.engine import ReportProgress
from aquahost.engines.llm.block_tables import BlockTables
from aquahost.engines.llm.context import choose_context
from aquahost.engines.llm.detokenizer import Vocabulary
from aquahost.engines.llm.engine import LlmEngine
from aquahost.engines.llm.engine_parts import EngineParts
from aquahost.engines.llm.gather_attention import GatherAttention
from aquahost.engines.llm.geometry import Geometry, discover
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost.engines.llm.probe import probe
from aquahost.engines.llm.refusals import check_config, check_window, stated_window
from aquahost.engines.llm.runner import ModelRunner, PagedAttention
from aquahost.engines.llm.step_memory import measure_step_bytes
from aquahost.engines.llm.tokenization import PromptEncoder
from aquahost.engines.llm.varlen_attention import VarlenAttention, varlen_is_available
from aquahost.engines.llm.weights import load_weights, stored_dtype
from aquahost.engines.quiet import quiet_transformers
from aquahost.engines.source import resolve_source
from aquahost.errors import LoadError
from aquahost.messages.wire import Footprint, LoadProgress
from aquahost.scheduling.policies import make_policy
from aquahost.scheduling.scheduler import Scheduler
from aquahost.scheduling.sizes import Sizes
from aquahost.scheduling.slicer import StepTimes


def load_llm(
    name: str,
    settings: ModelSettings,
    scheduler: SchedulerSettings,
    device: EngineDevice,
    report: ReportProgress,
    known: StepTimes | None = None,
) -> LlmEngine:
    """Load the model of entry `name`. Whatever can't be served is refused here: LoadError says why. `known`: what its
    steps take, as a profile says."""
    quiet_transformers()
    report(LoadProgress("finding the model", 0, 0))
    folder = resolve_source(settings)
    config = _load_config(folder, settings)
    checkpoint = read_checkpoint(folder, stated=getattr(config, "transformers_weights", None))
    dtype = choose_dtype(settings, device.torch_device, stored_dtype(config))
    device.require(checkpoint.loaded_bytes(dtype.itemsize), f"the weights of {name}")
    tokenizer = _load_tokenizer(folder, settings)
    model = load_weights(folder, settings, dtype, checkpoint, device, report)
    check_config(model.config, type(model))  # again: only now is the class of a model that brings its code known
    weights_bytes = device.place(model)
    device.end_load()
    report(LoadProgress("probing", 0, 0))
    geometry = discover(model, device.torch_device)
    memory = KvMemory(device, geometry.layout(settings.block_tokens), settings)
    try:
        planner = _scheduler(settings, scheduler, memory, known)
        return _assemble(settings, scheduler, planner, device, model, tokenizer, geometry, memory, weights_bytes)
    except BaseException:
        memory.close()
        raise


def _assemble(
    settings: ModelSettings,
    scheduler: SchedulerSettings,
    planner: Scheduler,
    device: EngineDevice,
    model: Any,
    tokenizer: Any,
    geometry: Geometry,
    memory: KvMemory,
    weights_bytes: int,
) -> LlmEngine:
    layout = memory.layout
    context = choose_context(settings, model.config, tokenizer, memory)
    check_window(model.config, geometry.windows, context.tokens)
    slots = min(scheduler.max_batch, scheduler.step_tokens)
    tables = BlockTables(slots, layout.blocks_for(context.tokens))
    runner = ModelRunner(model, _attention(device, memory, tables, geometry))
    window = min(filter(None, [*geometry.windows, stated_window(model.config)]), default=None)
    probe(model, runner, tables, memory.cache, device.torch_device, max_context=context.tokens, window=window)
    vocabulary = Vocabulary(tokenizer)
    vocabulary_size = int(model.get_input_embeddings().weight.shape[0])
    step_bytes = measure_step_bytes(
        runner,
        tables,
        memory,
        device.torch_device,
        context=min(context.tokens, tables.blocks.shape[1] * layout.block_tokens),
        step_tokens=scheduler.step_tokens,
        vocabulary=vocabulary_size,
    )
    footprint = Footprint(
        weights_bytes=weights_bytes,
        kv_bytes=memory.local_bytes,
        peak_bytes=step_bytes,
        max_context=context.tokens,
        detail=f"{type(model).__name__} {str(layout.dtype).removeprefix('torch.')}",
    )
    parts = EngineParts(
        runner=runner,
        memory=memory,
        tables=tables,
        scheduler=planner,
        encoder=PromptEncoder(
            tokenizer,
            vocabulary,
            vocabulary_size=vocabulary_size,
            max_context=context.tokens,
            limited_by=context.limited_by,
        ),
        vocabulary=vocabulary,
        footprint=footprint,
        end_ids=_end_ids(model, tokenizer),
        vocabulary_size=vocabulary_size,
        device=device,
        pin=settings.pin,
    )
    return LlmEngine(parts)


def _scheduler(
    model: ModelSettings, settings: SchedulerSettings, memory: KvMemory, known: StepTimes | None
) -> Scheduler:
    sizes = Sizes(
        most_blocks=memory.sure_blocks,
        block_tokens=memory.layout.block_tokens,
        step_tokens=settings.step_tokens,
        max_batch=settings.max_batch,
    )
    policy = make_policy(model.policy or settings.policy, paging_budget=settings.paging_budget, known=known)
    return Scheduler(sizes, policy)


def _load_config(folder: Path, settings: ModelSettings) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=settings.trust_remote_code, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise LoadError(f"{folder}/config.json can't be used: {error}") from error
    remote = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    known = type(config) in AutoModelForCausalLM._model_mapping
    if known:
        check_config(config, AutoModelForCausalLM._model_mapping[type(config)])
    elif not (remote and settings.trust_remote_code):
        check_config(config, None)
    return config


def _load_tokenizer(folder: Path, settings: ModelSettings) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            folder, trust_remote_code=settings.trust_remote_code, local_files_only=True
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        raise LoadError(f"{folder} has no tokenizer that can be used: {error}") from error


def _attention(device: EngineDevice, memory: KvMemory, tables: BlockTables, geometry: Geometry) -> PagedAttention:
    if varlen_is_available(device.torch_device, memory.layout.dtype):
        varlen = VarlenAttention(memory.cache, tables)
        if varlen.works(geometry.heads, geometry.windows):
            return varlen
    return GatherAttention(memory.cache, tables, geometry.windows)


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """What ends a reply: as `generate` has it, else the tokenizer's end-of-sequence token."""
    stated = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if stated is None:
        stated = tokenizer.eos_token_id
    if isinstance(stated, torch.Tensor):
        stated = stated.tolist()
    if stated is None:
        return frozenset()
    return frozenset(stated if isinstance(stated, list | tuple) else [stated])
