"""Two small models with profiles made by hand, so that simulations need neither torch nor weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from aquahost.config.loader import load_settings
from aquahost.config.settings import ModelSettings, Settings
from aquahost.profiler import store
from aquahost.profiler.config_files import config_folder
from aquahost.profiler.keys import analytic_key, measured_key
from aquahost.profiles.data_sheets import data_sheet, parse_node
from aquahost.profiles.profile import GatedCosts, LanguageCosts, Profile, SizedCost
from aquahost.profiles.step_costs import RooflineSteps
from aquahost.simulator.links import Switched
from aquahost.simulator.node import Hosted
from aquahost.simulator.run import Machine
from aquahost.traces.trace import Trace, TracePrompt, in_order, kv_room

GB = 10**9
YAML = """
host: {emulated: {gpus: 2, gpu_bytes: 40GB, peer_bytes_per_s: 2.0e11, host_bytes_per_s: 2.0e10}}
scheduler: {step_tokens: 256, max_batch: 32}
leasing: {park_after_s: 20}
models:
  chat:
    kind: llm
    source: ./chat
    kv_bytes: 1GB
    borrow_bytes: 8GB
    host_kv_bytes: 8GB
    traffic: {rate_per_s: 4, input_tokens: 300, output_tokens: 80}
  paint:
    kind: image
    source: ./paint
    size_px: 512
    max_size_px: 1024
    steps: 10
    traffic: {rate_per_s: 0.5}
"""
CHAT = LanguageCosts(
    weights_bytes=10 * GB,
    kv_token_bytes=1 << 19,
    peak_bytes=GB // 4,
    context_tokens=8192,
    step=RooflineSteps(
        weights_bytes=10e9, token_flops=1e10, pair_flops=1e5, kv_token_bytes=1 << 19,
        memory_bytes_per_s=1e12, flops=1e14, launch_s=1e-3,
    ),
    transfer_s=1e-4,
)  # fmt: skip
_SIZES = tuple(
    SizedCost(
        size=float(px * px), peak_bytes=px * 4_000_000, held_bytes=GB // 100, begin_s=0.02, step_s=0.02, end_s=0.05
    )
    for px in (512, 1024)
)
PAINT = GatedCosts(weights_bytes=4 * GB, sizes=_SIZES, default_steps=10, default_size=512.0 * 512)


def written(folder: Path, text: str = YAML, *, gpu: str = "A100-40GB") -> Path:
    """models.yaml in a folder, with folders of configs; profiles are stored where AQUAHOST_PROFILE_DIR says, for a GPU
    with a data sheet, or as measured on the "emulated" one."""
    path = folder / "models.yaml"
    path.write_text(text)
    for name in ("chat", "paint"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / ("config.json" if name == "chat" else "model_index.json")).write_text("{}")
    settings = load_settings(path, {})
    for name, model in settings.models.items():
        if model.source:
            store.save(_stored(settings, name, model, gpu))
    return path


def _stored(settings: Settings, name: str, model: ModelSettings, gpu: str) -> Profile:
    sizes = {"step_tokens": settings.scheduler.step_tokens, "max_batch": settings.scheduler.max_batch}
    folder, measured = config_folder(name, model), gpu == "emulated"
    key = measured_key(folder, model, **sizes) if measured else analytic_key(folder, model, data_sheet(gpu), **sizes)
    return msgspec.structs.replace(profile_of(name), source=model.source, key=key, gpu=gpu, measured=measured)


def profile_of(name: str) -> Profile:
    """What `chat` or another model, which paints, costs."""
    costs = CHAT if name.startswith("chat") else PAINT
    return Profile(source=name, key="", gpu="A100-40GB", dtype="bfloat16", measured=False, costs=costs)


def machine(gpus: int = 4) -> Machine:
    """A node of A100s of 40 GB."""
    node = parse_node(f"{gpus}xA100-40GB")
    return Machine(name=node.name, gpu_bytes=(node.sheet.memory_bytes,) * gpus, wiring=Switched(node))


def hosted(settings: Settings, *places: tuple[str, tuple[int, ...]]) -> list[Hosted]:
    """Models by name, each with its GPUs."""
    return [
        Hosted(name=name, settings=settings.models[name], profile=profile_of(name), gpus=gpus) for name, gpus in places
    ]


def trace_of(prompts: Sequence[TracePrompt]) -> Trace:
    """These prompts, numbered."""
    ordered = in_order([replace(prompt, number=number) for number, prompt in enumerate(prompts)])
    return Trace(name="made", seed=None, prompts=ordered, kv_tokens=kv_room(ordered))


def text_prompt(arrival_s: float, tokens_in: int = 300, tokens_out: int = 80, **fields: str) -> TracePrompt:
    """A prompt to `chat`."""
    asked = {"model": "chat", **fields}
    return TracePrompt(number=0, arrival_s=arrival_s, input_tokens=tokens_in, output_tokens=tokens_out, **asked)


def image_prompt(arrival_s: float, steps: int = 10) -> TracePrompt:
    """A prompt to `paint`."""
    return TracePrompt(number=0, arrival_s=arrival_s, input_tokens=1, output_tokens=1, model="paint", steps=steps)
