"""What requests become for audio pipelines with the newer callback; the pipeline is a stand-in."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from aquahost.config.settings import Kind, ModelSettings
from aquahost.engines.audio.pipeline_model import AudioPipelineModel
from aquahost.engines.diffusion.load import LoadedPipeline
from aquahost.errors import InvalidRequestError
from aquahost.messages.prompts import AudioRequest


class _Newer:
    """As ACE-Step: a rate of its own, a default length, `callback_on_step_end`, no negative prompt."""

    sample_rate = 8_000

    def __call__(
        self,
        prompt: str,
        audio_duration: float = 60.0,
        num_inference_steps: int = 2,
        guidance_scale: float = 7.0,
        output_type: str = "pt",
        callback_on_step_end: Any = None,
    ) -> Any:
        self.scheduler = SimpleNamespace(timesteps=range(num_inference_steps))
        for index in range(num_inference_steps):
            callback_on_step_end(self, index, None, {})
        assert output_type == "np"
        return SimpleNamespace(audios=np.zeros((1, 2, round(audio_duration * self.sample_rate)), dtype=np.float32))


def _model(**settings: Any) -> AudioPipelineModel:
    loaded = LoadedPipeline(pipeline=_Newer(), dtype=torch.float32, weights_bytes=0)
    return AudioPipelineModel(loaded, ModelSettings(kind=Kind.AUDIO, source="x", **settings), torch.device("cpu"))


def test_every_step_passes_the_gate_and_the_length_is_as_asked() -> None:
    arrivals: list[tuple[int, int]] = []
    job = _model().prepare(AudioRequest(text="x", duration_s=0.5, steps=3))
    made = job.work(lambda step, steps: arrivals.append((step, steps)))
    assert arrivals == [(1, 3), (2, 3), (3, 3)]
    assert soundfile.info(io.BytesIO(made.data)).frames == 4_000


def test_a_pipelines_default_length_is_cut_to_what_the_entry_allows() -> None:
    made = _model(max_duration_s=1.0).prepare(AudioRequest(text="x")).work(lambda step, steps: None)
    assert soundfile.info(io.BytesIO(made.data)).duration == 1.0


def test_what_the_pipeline_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequestError, match="no negative_prompt") as refusal:
        _model().prepare(AudioRequest(text="x", negative_text="y"))
    assert refusal.value.param == "negative_prompt"
