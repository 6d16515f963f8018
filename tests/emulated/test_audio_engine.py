"""Sounds of a tiny MusicGen and a tiny Stable Audio, through the gate."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.engines.audio import load_audio
from aquahost.engines.audio.musicgen import text_limit
from aquahost.engines.engine import Engine
from aquahost.errors import InvalidRequestError
from aquahost.messages.prompts import AudioRequest, ImageRequest, Request
from tiny_media import (
    STABLE_AUDIO_LONGEST_S,
    STABLE_AUDIO_RATE_HZ,
    PlainDevice,
    Reports,
    make_tiny_musicgen,
    make_tiny_musicgen_melody,
    make_tiny_stable_audio,
    prompt,
    run_all,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.torch.nn.utils.weight_norm. is deprecated:FutureWarning"),
]


@pytest.fixture(scope="module")
def musicgen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_musicgen(tmp_path_factory.mktemp("musicgen"))


@pytest.fixture(scope="module")
def stable_audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_stable_audio(tmp_path_factory.mktemp("stable-audio"))


@pytest.fixture(autouse=True)
def _short_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aquahost.engines.trials.CPU_BUDGET_S", 0.0)


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def load(folder: Path, **settings: Any) -> Engine:
    entry = ModelSettings(kind=Kind.AUDIO, source=str(folder), **settings)
    return load_audio("sing", entry, SchedulerSettings(), PlainDevice(), Reports())  # type: ignore[arg-type]


def heard(data: bytes) -> tuple[npt.NDArray[np.float64], int]:
    """Samples of shape (frames, channels), and their rate."""
    samples, rate_hz = soundfile.read(io.BytesIO(data), always_2d=True)
    return samples, rate_hz


def plain_musicgen(folder: Path, text: str, seed: int, tokens: int, guidance: float) -> npt.NDArray[np.float32]:
    """The same sound straight from transformers."""
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    model = MusicgenForConditionalGeneration.from_pretrained(folder)
    inputs = AutoTokenizer.from_pretrained(folder)([text], return_tensors="pt")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        audio = model.generate(**inputs, max_new_tokens=tokens, guidance_scale=guidance)
    return audio[0].T.numpy()


def plain_stable_audio(folder: Path, request: AudioRequest) -> npt.NDArray[np.float32]:
    """The same sound straight from diffusers."""
    from diffusers import StableAudioPipeline

    pipeline = StableAudioPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return (
        pipeline(
            request.text,
            negative_prompt=request.negative_text,
            audio_end_in_s=request.duration_s,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance,
            generator=torch.Generator().manual_seed(request.seed or 0),
        )
        .audios[0]
        .T.numpy()
    )


def test_musicgen_prompts_in_turns_sound_as_they_do_alone(musicgen: Path) -> None:
    requests: dict[str, Request] = {
        "a": AudioRequest(text="drums", seed=1, duration_s=0.4, guidance=3.0),
        "b": AudioRequest(text="a calm piano melody", seed=2, duration_s=0.6, guidance=1.0),
        "c": AudioRequest(text="drums", seed=1, duration_s=0.4, guidance=3.0),
    }
    engine = load(musicgen)
    results = run_all(engine, requests)
    engine.close()
    for name, request in requests.items():
        assert isinstance(request, AudioRequest)
        assert request.duration_s is not None
        samples, rate_hz = heard(results[name].data)
        assert (rate_hz, samples.shape) == (16_000, (round(request.duration_s * 16_000), 1))
        tokens = round(request.duration_s * 50) + 1  # the second codebook lags one behind
        alone = plain_musicgen(musicgen, request.text, request.seed or 0, tokens, request.guidance or 0.0)
        np.testing.assert_allclose(samples, np.clip(alone, -1, 1), atol=2 / 32768, err_msg=name)
        assert [(p.step, p.steps) for p in results[name].progress] == [(i, tokens) for i in range(1, tokens + 1)]
    assert results["a"].data == results["c"].data


def test_musicgen_without_a_seed_or_with_another_sounds_different(musicgen: Path) -> None:
    silent = AudioRequest(text="drums", duration_s=0.2)
    results = run_all(
        load(musicgen), {"a": silent, "b": silent, "c": AudioRequest(text="drums", duration_s=0.2, seed=7)}
    )
    assert len({result.data for result in results.values()}) == 3


def test_musicgen_melody_sings_from_text_alone(tmp_path: Path) -> None:
    engine = load(make_tiny_musicgen_melody(tmp_path))
    result = run_all(engine, {"p": AudioRequest(text="drums", seed=1, duration_s=0.2)})["p"]
    samples, rate_hz = heard(result.data)
    assert (rate_hz, len(samples), len(result.progress)) == (16_000, 3_200, 11)


def test_stable_audio_prompts_in_turns_sound_as_they_do_alone(stable_audio: Path) -> None:
    requests: dict[str, Request] = {
        "a": AudioRequest(text="rain", seed=1, duration_s=0.5, guidance=7.0, steps=3),
        "b": AudioRequest(text="wind", seed=2, duration_s=0.25, guidance=1.0, steps=5),
        "c": AudioRequest(text="rain", seed=1, duration_s=0.5, guidance=4.0, steps=4, negative_text="birds"),
    }
    engine = load(stable_audio)
    results = run_all(engine, requests)
    engine.close()
    for name, request in requests.items():
        assert isinstance(request, AudioRequest)
        assert request.duration_s is not None
        samples, rate_hz = heard(results[name].data)
        assert rate_hz == STABLE_AUDIO_RATE_HZ
        assert samples.shape == (round(request.duration_s * rate_hz), 2)
        alone = plain_stable_audio(stable_audio, request)
        np.testing.assert_allclose(samples, np.clip(alone, -1, 1), atol=2 / 32768, err_msg=name)
        assert [(p.step, p.steps) for p in results[name].progress] == [
            (step, request.steps) for step in range(1, (request.steps or 0) + 1)
        ]
    assert len({result.data for result in results.values()}) == 3


def test_stable_audio_is_as_long_as_it_can_be_unless_the_entry_allows_less(stable_audio: Path) -> None:
    request = AudioRequest(text="rain", seed=1, steps=1)
    for settings, expected_s in (({}, STABLE_AUDIO_LONGEST_S), ({"max_duration_s": 0.5}, 0.5)):
        samples, rate_hz = heard(run_all(load(stable_audio, **settings), {"p": request})["p"].data)
        assert len(samples) == round(expected_s * rate_hz)


def test_musicgens_own_length_holds_unless_the_entry_allows_less(musicgen: Path) -> None:
    engine = load(musicgen)
    assert engine.submit(prompt("p", AudioRequest(text="drums"))).steps == 201
    engine.cancel("p")
    samples, rate_hz = heard(run_all(load(musicgen, max_duration_s=0.3), {"p": AudioRequest(text="x")})["p"].data)
    assert len(samples) == round(0.3 * rate_hz)


@pytest.mark.parametrize(
    ("request_", "param", "allowed"),
    [
        (AudioRequest(text="x", duration_s=0.0), "duration", "more than 0 and at most 2 seconds"),
        (AudioRequest(text="x", duration_s=2.1), "duration", "at most 2 seconds"),
        (AudioRequest(text="x", duration_s=float("nan")), "duration", "at most 2 seconds"),
        (AudioRequest(text="x", duration_s=float("inf")), "duration", "at most 2 seconds"),
        (AudioRequest(text="x", steps=3), "steps", "no denoising steps"),
        (AudioRequest(text="x", negative_text="y"), "negative_prompt", "no negative prompt"),
        (AudioRequest(text="x", guidance=float("inf")), "guidance", "between 0 and 1000"),
        (AudioRequest(text="x", seed=-1), "seed", "between 0 and"),
        (AudioRequest(text="x", format="aac"), "response_format", "wav, flac, mp3, opus, pcm"),
        (ImageRequest(text="x"), "model", "makes sounds"),
        (AudioRequest(text="\ud800"), "input", "half a surrogate pair"),
        (AudioRequest(text="!" * 512), "input", "has 513 tokens, of which the model takes at most 512"),
    ],
)
def test_what_musicgen_does_not_allow_is_refused_by_name(
    musicgen: Path, request_: Request, param: str, allowed: str
) -> None:
    engine = load(musicgen, max_duration_s=2)
    with pytest.raises(InvalidRequestError, match=allowed) as refusal:
        engine.submit(prompt("p", request_))
    assert refusal.value.param == param
    assert not engine.has_work()


@pytest.mark.parametrize(
    ("request_", "param", "allowed"),
    [
        (AudioRequest(text="x", duration_s=1.5), "duration", "at most 1 seconds"),
        (AudioRequest(text="x", steps=0), "steps", "between 1 and 10"),
        (AudioRequest(text="x", steps=11), "steps", "between 1 and 10"),
        (ImageRequest(text="x"), "model", "makes sounds"),
        (AudioRequest(text="\ud800"), "input", "half a surrogate pair"),
        (AudioRequest(text="x", negative_text="\ud800"), "negative_prompt", "half a surrogate pair"),
        (AudioRequest(text="x" * 16_385), "input", "16385 bytes of UTF-8, of which the model takes at most 16384"),
    ],
)
def test_what_stable_audio_does_not_allow_is_refused_by_name(
    stable_audio: Path, request_: Request, param: str, allowed: str
) -> None:
    engine = load(stable_audio, max_steps=10)
    with pytest.raises(InvalidRequestError, match=allowed) as refusal:
        engine.submit(prompt("p", request_))
    assert refusal.value.param == param


def test_the_longest_text_that_musicgen_takes_is_taken(musicgen: Path) -> None:
    longest = AudioRequest(text="!" * 511, duration_s=0.02)
    assert run_all(load(musicgen), {"p": longest})["p"].data
    with pytest.raises(InvalidRequestError) as refusal:
        load(musicgen).submit(prompt("p", AudioRequest(text="!" * 32_000)))
    assert refusal.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("tokenizer_says", "encoder_says", "limit"),
    [
        (128, {"n_positions": 512}, 128),
        (int(1e30), {"n_positions": 256}, 256),
        (int(1e30), {"max_position_embeddings": 300, "n_positions": 256}, 300),
        (None, {}, 512),
        (1_000_000, {"n_positions": 1_000_000}, 512),
        (-1, {"n_positions": "many"}, 512),
    ],
)
def test_the_longest_text_is_the_tokenizers_or_the_encoders(
    tokenizer_says: int | None, encoder_says: dict[str, Any], limit: int
) -> None:
    tokenizer = SimpleNamespace(model_max_length=tokenizer_says)
    assert text_limit(tokenizer, SimpleNamespace(**encoder_says)) == limit


def test_a_length_that_stable_audio_refuses_is_named(stable_audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import StableAudioPipeline

    def refuse(*args: object, **kwargs: object) -> None:
        raise ValueError("`audio_end_in_s` must be less than 0.1")

    engine = load(stable_audio)
    monkeypatch.setattr(StableAudioPipeline, "check_inputs", refuse)
    finished = run_all(engine, {"p": AudioRequest(text="x", steps=1)})["p"].finished
    assert finished is not None
    assert finished.error is not None
    assert (finished.error.status, finished.error.param) == (400, "duration")


def test_cancelling_between_tokens_ends_the_thread_and_spares_the_others(musicgen: Path) -> None:
    engine = load(musicgen)
    asked = AudioRequest(text="drums", seed=4, duration_s=0.2)
    alone = run_all(engine, {"p": asked})["p"].data
    engine.submit(prompt("gone", AudioRequest(text="violins", seed=5, duration_s=4.0)))
    engine.step()
    threads = threading.active_count()
    engine.step()
    engine.cancel("gone")
    assert threading.active_count() == threads - 1
    assert run_all(engine, {"p": asked})["p"].data == alone


@pytest.mark.parametrize(
    ("file_format", "media_type", "container"),
    [
        ("wav", "audio/wav", "WAV"),
        ("flac", "audio/flac", "FLAC"),
        ("mp3", "audio/mpeg", "MP3"),
        ("opus", "audio/ogg", "OGG"),
        ("pcm", "audio/pcm", None),
    ],
)
def test_sounds_come_in_the_format_asked_for(
    musicgen: Path, file_format: str, media_type: str, container: str | None
) -> None:
    result = run_all(load(musicgen), {"a": AudioRequest(text="x", duration_s=0.2, format=file_format)})["a"]
    assert result.artifact is not None
    assert result.artifact.media_type == media_type
    if container is None:
        assert len(result.data) == 2 * round(0.2 * 16_000)
    else:
        assert soundfile.info(io.BytesIO(result.data)).format == container
