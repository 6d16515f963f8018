"""Tiny image and audio models, made in a moment, and what their tests share."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from aquahost.clock import SystemClock
from aquahost.config.settings import LeasingSettings
from aquahost.demo.models import make_sing
from aquahost.demo.tokens import byte_level_tokenizer, clip_tokenizer
from aquahost.engines.engine import Engine
from aquahost.engines.memory_desk import MemoryDesk
from aquahost.errors import LoadError
from aquahost.messages.prompts import Artifact, Finished, FinishReason, Output, Progress, Prompt, Request
from aquahost.messages.wire import LoadProgress
from aquahost_cuda.check import OutOfMemoryError


class _PlainBuffer:
    """Memory of a PlainDevice."""

    def __init__(self, device: PlainDevice, nbytes: int) -> None:
        self._device, self.nbytes = device, nbytes

    def close(self) -> None:
        self._device.work_bytes -= self.nbytes


class _PlainWeights:
    """Weights that stay where they are."""

    gpu_bytes = 0

    def packed_bytes(self) -> int:
        return 0


@dataclass
class PlainDevice:
    """What engines use of an `EngineDevice`, over plain CPU memory with a limit. Nobody lends, nothing is parked."""

    capacity_bytes: int = 1 << 30
    placed_bytes: int = 0
    work_bytes: int = 0
    required: list[int] = field(default_factory=list)
    torch_device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    desk: MemoryDesk = field(default_factory=lambda: MemoryDesk(LeasingSettings(linger_s=0), SystemClock()))
    weights: _PlainWeights = field(default_factory=_PlainWeights)
    is_emulated: bool = True
    gpu_index: int = 0

    def require(self, nbytes: int, what: str) -> None:
        self.required.append(nbytes)
        if nbytes > self.capacity_bytes - self.placed_bytes:
            raise LoadError(f"{what} need {nbytes} bytes; GPU 0 has {self.capacity_bytes - self.placed_bytes} free")

    def place(self, *modules: torch.nn.Module) -> int:
        nbytes = sum(t.nbytes for m in modules for t in (*m.parameters(), *m.buffers()))
        self.placed_bytes += nbytes
        return nbytes

    def end_load(self) -> None:
        pass

    def finish_work(self) -> None:
        pass

    def free_bytes(self) -> int:
        return self.capacity_bytes - self.placed_bytes - self.work_bytes

    def claimable_bytes(self) -> int:
        return self.free_bytes()

    def taken_bytes(self, nbytes: int) -> int:
        return nbytes

    def buffer(self, nbytes: int) -> _PlainBuffer:
        if nbytes > self.free_bytes():
            raise OutOfMemoryError("cuMemCreate", "CUDA_ERROR_OUT_OF_MEMORY")
        self.work_bytes += nbytes
        return _PlainBuffer(self, nbytes)


@dataclass
class Reports:
    """Load progress as it was reported."""

    seen: list[LoadProgress] = field(default_factory=list)

    def __call__(self, progress: LoadProgress) -> None:
        self.seen.append(progress)


def prompt(prompt_id: str, request: Request) -> Prompt:
    return Prompt(id=prompt_id, model="m", tenant="t", request=request, created_s=0.0)


@dataclass
class Result:
    """All that became of one prompt."""

    progress: list[Progress] = field(default_factory=list)
    artifact: Artifact | None = None
    finished: Finished | None = None

    @property
    def data(self) -> bytes:
        assert self.finished is not None
        assert self.finished.reason is FinishReason.STOP, self.finished
        assert self.artifact is not None
        return self.artifact.data


def run_all(engine: Engine, requests: dict[str, Request]) -> dict[str, Result]:
    """Submit all at once and step until the engine has no work."""
    results = {prompt_id: Result() for prompt_id in requests}
    for prompt_id, request in requests.items():
        engine.submit(prompt(prompt_id, request))
    finish(engine, results)
    return results


def finish(engine: Engine, results: dict[str, Result]) -> None:
    """Drive the engine as the worker's loop does, without a broker, until all of these prompts have ended."""
    while any(result.finished is None for result in results.values()):
        engine.tend()
        if engine.has_work():
            collect(results, engine.step())
        else:
            time.sleep(min(engine.wait_s(), 0.01))


def collect(results: dict[str, Result], outputs: Iterable[Output]) -> None:
    for output in outputs:
        result = results[output.prompt_id]
        if isinstance(output, Progress):
            result.progress.append(output)
        elif isinstance(output, Artifact):
            result.artifact = output
        elif isinstance(output, Finished):
            assert result.finished is None
            result.finished = output


def _text_encoder(tokenizer: Any, *, projection: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=37,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def _vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )


def make_scheduler(name: str) -> Any:
    import diffusers

    options: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    if name == "PNDMScheduler":
        options["skip_prk_steps"] = True
    if name == "DDIMScheduler":
        options["clip_sample"] = False
    return getattr(diffusers, name)(**options, steps_offset=1, timestep_spacing="leading")


def make_tiny_sd(folder: Path, scheduler: str = "DDIMScheduler") -> Path:
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(1)
    tokenizer = clip_tokenizer(max_tokens=77)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    StableDiffusionPipeline(
        text_encoder=_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=unet,
        vae=_vae(),
        scheduler=make_scheduler(scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def make_tiny_sdxl(folder: Path, scheduler: str = "EulerDiscreteScheduler") -> Path:
    from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel

    torch.manual_seed(2)
    tokenizer = clip_tokenizer(max_tokens=77)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1),
        projection_class_embeddings_input_dim=6 * 8 + 32,
        cross_attention_dim=64,
        norm_num_groups=4,
    )
    StableDiffusionXLPipeline(
        text_encoder=_text_encoder(tokenizer),
        text_encoder_2=_text_encoder(tokenizer, projection=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        vae=_vae(),
        scheduler=make_scheduler(scheduler),
        force_zeros_for_empty_prompt=False,
    ).save_pretrained(folder)
    return folder


def make_tiny_musicgen(folder: Path) -> Path:
    torch.manual_seed(3)
    make_sing(folder)
    return folder


def make_tiny_musicgen_melody(folder: Path) -> Path:
    from transformers import (
        EncodecConfig,
        GenerationConfig,
        MusicgenMelodyConfig,
        MusicgenMelodyDecoderConfig,
        MusicgenMelodyForConditionalGeneration,
        T5Config,
    )

    torch.manual_seed(5)
    tokenizer = byte_level_tokenizer({"eos_token": "</s>", "pad_token": "<pad>"}, append_eos=True)
    text = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    codec = EncodecConfig(
        sampling_rate=16_000,
        target_bandwidths=[0.6],
        hidden_size=16,
        num_filters=4,
        codebook_size=64,
        num_lstm_layers=1,
    )
    decoder = MusicgenMelodyDecoderConfig(
        vocab_size=64,
        num_hidden_layers=1,
        ffn_dim=32,
        num_attention_heads=2,
        hidden_size=16,
        num_codebooks=2,
        pad_token_id=64,
        bos_token_id=64,
    )
    config = MusicgenMelodyConfig(
        text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict(), chroma_length=4
    )
    model = MusicgenMelodyForConditionalGeneration(config)
    special = {"decoder_start_token_id": 64, "bos_token_id": 64, "pad_token_id": 64}
    model.generation_config = GenerationConfig(max_length=51, do_sample=True, guidance_scale=3.0, **special)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


STABLE_AUDIO_RATE_HZ = 8_000
STABLE_AUDIO_LONGEST_S = 1.0


def make_tiny_stable_audio(folder: Path) -> Path:
    from diffusers import EDMDPMSolverMultistepScheduler, StableAudioDiTModel, StableAudioPipeline
    from diffusers.pipelines.stable_audio import StableAudioProjectionModel
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(4)
    tokenizer = byte_level_tokenizer({"eos_token": "</s>", "pad_token": "<pad>"}, append_eos=True)
    tokenizer.model_max_length = 32
    text_config = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    transformer = StableAudioDiTModel(
        sample_size=int(STABLE_AUDIO_RATE_HZ * STABLE_AUDIO_LONGEST_S) // 40,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_key_value_attention_heads=2,
        num_attention_heads=2,
        out_channels=4,
        cross_attention_dim=8,
        time_proj_dim=8,
        global_states_input_dim=16,
        cross_attention_input_dim=8,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it uses torch's older weight_norm
        vae = _oobleck_vae()
    StableAudioPipeline(
        transformer=transformer,
        scheduler=EDMDPMSolverMultistepScheduler(
            solver_order=2, prediction_type="v_prediction", sigma_data=1.0, sigma_schedule="exponential"
        ),
        vae=vae,
        text_encoder=T5EncoderModel(text_config),
        tokenizer=tokenizer,
        projection_model=StableAudioProjectionModel(text_encoder_dim=16, conditioning_dim=8, min_value=0, max_value=32),
    ).save_pretrained(folder)
    return folder


def _oobleck_vae() -> Any:
    from diffusers import AutoencoderOobleck

    return AutoencoderOobleck(
        encoder_hidden_size=6,
        downsampling_ratios=[4, 10],
        decoder_channels=4,
        decoder_input_channels=4,
        audio_channels=2,
        channel_multiples=[2, 4],
        sampling_rate=STABLE_AUDIO_RATE_HZ,
    )
