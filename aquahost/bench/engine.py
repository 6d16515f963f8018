"""The language engine against `model.generate` of the same weights in the same process, with the same torch threads."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquahost.bench.figures import Figure, at_least, at_most
from aquahost.bench.tiny_llama import VOCABULARY, make_tiny_llama
from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.messages.prompts import Prompt, Sampling, TextRequest, Tokens
from aquahost.units import GIB, MIB

if TYPE_CHECKING:
    from aquahost.engines.engine import Engine

_INPUT_TOKENS = 64
_OUTPUT_TOKENS = 128
_GENERATE_BATCH = 8
_ROUNDS = 5


def measure_engine() -> list[Figure]:
    """Decode tokens/s at batch 1 and 32 relative to `model.generate`, and the engine's own time in a step.

    The two sides take turns, and each round gives one ratio: noise of the machine falls on both. Ratios are medians.
    """
    import torch

    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as folder:
        make_tiny_llama(Path(folder))
        with _engine(folder) as engine:
            threads = torch.get_num_threads()
            generate = _generate_with(folder, threads)
            single = _rounds(lambda: _engine_rate(engine, 1), lambda: generate(1, 1))
            turns = 32 // _GENERATE_BATCH
            batch = _rounds(lambda: _engine_rate(engine, 32), lambda: generate(_GENERATE_BATCH, turns))
            overheads = {size: _overhead_s(engine, size) for size in (1, 32)}
    figures = []
    for name, bar, rounds in (("batch 1", 1.0, single), ("batch 32 against 4 turns of batch 8", 1.5, batch)):
        ours, theirs = (statistics.median(side) for side in zip(*rounds, strict=True))
        note = f"{ours:.0f} against {theirs:.0f} tokens/s"
        ratio = statistics.median(a / b for a, b in rounds)
        figures.append(at_least(f"engine ÷ model.generate, {name}", ratio, "x", bar, note=note))
    for size, overhead_s in overheads.items():
        bar_ms = 0.5 + 0.015 * size
        figures.append(at_most(f"engine's own time in a step, batch {size}", overhead_s * 1e3, "ms", bar_ms))
    return figures


@contextmanager
def _engine(folder: str) -> Iterator[Engine]:
    from aquahost.engines.device import EngineDevice
    from aquahost.engines.registry import load_engine
    from aquahost_cuda.driver import EmulatedNode, load

    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as node_folder:
        node = EmulatedNode(path=node_folder, gpus=1, gpu_bytes=2 * GIB)
        device = EngineDevice(load("emulated", node), 0)
        settings = ModelSettings(kind=Kind.LLM, source=folder, kv_bytes=256 * MIB)
        engine = load_engine("tiny", settings, SchedulerSettings(), device, lambda progress: None)
        try:
            yield engine
        finally:
            engine.close()
            device.close()


def _generate_with(folder: str, threads: int) -> Callable[[int, int], float]:
    """A function (batch, turns) -> output tokens/s of `model.generate`, with all of torch's threads."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder)  # in eval mode
    lengths = {"max_new_tokens": _OUTPUT_TOKENS, "min_new_tokens": _OUTPUT_TOKENS}

    @torch.inference_mode()
    def rate(batch: int, turns: int) -> float:
        ids = torch.arange(batch * _INPUT_TOKENS).reshape(batch, _INPUT_TOKENS) * 7 % (VOCABULARY - 2) + 2
        mask = torch.ones_like(ids)
        engine_threads = torch.get_num_threads()
        torch.set_num_threads(threads)  # the engine runs narrow steps on one
        began = time.perf_counter()
        for _ in range(turns):
            model.generate(ids, attention_mask=mask, do_sample=False, pad_token_id=1, **lengths)
        took_s = time.perf_counter() - began
        torch.set_num_threads(engine_threads)
        return turns * batch * _OUTPUT_TOKENS / took_s

    return rate


def _rounds(ours: Callable[[], float], theirs: Callable[[], float]) -> list[tuple[float, float]]:
    ours(), theirs()
    return [(ours(), theirs()) for _ in range(_ROUNDS)]


def _submit(engine: Engine, batch: int) -> None:
    for i in range(batch):
        sampling = Sampling(max_tokens=_OUTPUT_TOKENS, temperature=0, ignore_eos=True)
        ids = [(i * 31 + j * 7) % (VOCABULARY - 2) + 2 for j in range(_INPUT_TOKENS)]
        request = TextRequest(token_ids=ids, sampling=sampling)
        engine.submit(Prompt(id=f"p{i}", model="tiny", tenant="", request=request, created_s=0.0))


def _engine_rate(engine: Engine, batch: int) -> float:
    """Output tokens/s, prefill included, as `model.generate` includes it."""
    _submit(engine, batch)
    tokens = 0
    began = time.perf_counter()
    while engine.has_work():
        engine.tend()
        tokens += sum(len(output.token_ids) for output in engine.step() if isinstance(output, Tokens))
    took_s = time.perf_counter() - began
    if tokens != batch * _OUTPUT_TOKENS:
        raise RuntimeError(f"asked for {batch * _OUTPUT_TOKENS} tokens, got {tokens}")
    return tokens / took_s


def _overhead_s(engine: Engine, batch: int) -> float:
    """Median over decode steps of the step's time less the time inside the model's forward."""
    import torch

    model: torch.nn.Module = engine.runner.model  # type: ignore[attr-defined]  # the language engine's own
    forward_s: list[float] = []
    began_s = 0.0

    def before(*_: object) -> None:
        nonlocal began_s
        began_s = time.perf_counter()

    hooks = [
        model.register_forward_pre_hook(before),
        model.register_forward_hook(lambda *_: forward_s.append(time.perf_counter() - began_s)),
    ]
    _submit(engine, batch)
    overheads = []
    try:
        while engine.has_work():
            forward_s.clear()
            step_began_s = time.perf_counter()
            engine.tend()
            outputs = engine.step()
            step_s = time.perf_counter() - step_began_s
            if sum(isinstance(output, Tokens) for output in outputs) == batch:
                overheads.append(step_s - sum(forward_s))
    finally:
        for hook in hooks:
            hook.remove()
    return statistics.median(overheads)
