"""What the image and sound demos learn from, and the checks that tell whether they have learned it."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from demo_training import paint_data, sing_data
from demo_training.paint_check import shows, things
from demo_training.paint_data import COLOURS, RELATIONS, SHAPES, Scene, Thing, draw
from demo_training.sing_check import has_pitches, peaks_hz
from demo_training.sing_data import CHECKED_FRAMES, RATE_HZ, Span, note_hz, plucked, sounds, steady, waves

THINGS = st.builds(Thing, st.sampled_from(list(COLOURS)), st.sampled_from(SHAPES))
PAIRS = st.tuples(THINGS, THINGS).filter(lambda pair: pair[0].colour != pair[1].colour)
SCENES = st.one_of(
    THINGS.map(Scene),
    st.tuples(PAIRS, st.sampled_from(RELATIONS)).map(lambda drawn: Scene(drawn[0][0], drawn[1], drawn[0][1])),
)
SEEDS = st.integers(0, 2**32)
OPPOSITE = dict(zip(RELATIONS, ("below", "above", "to the right of", "to the left of"), strict=True))


@hypothesis_settings(deadline=None, max_examples=40)
@given(SCENES, SEEDS, st.floats(0, 0.06))
def test_a_picture_shows_its_scene_and_no_other(scene: Scene, seed: int, noise: float) -> None:
    image = draw(scene, Random(seed))
    image = np.clip(image + np.random.default_rng(seed).normal(0, noise, image.shape), 0, 1).astype(np.float32)
    assert shows(image, scene)
    other = Thing("red" if scene.first.colour != "red" else "blue", scene.first.shape)
    assert not shows(image, Scene(other, scene.relation, scene.second))
    for shape in set(SHAPES) - {scene.first.shape}:
        assert not shows(image, Scene(Thing(scene.first.colour, shape), scene.relation, scene.second))
    if scene.relation is not None:
        assert not shows(image, Scene(scene.first, OPPOSITE[scene.relation], scene.second))
        assert not shows(image, Scene(scene.first))


def test_an_empty_picture_and_noise_show_nothing() -> None:
    assert things(np.full((64, 64, 3), 0.98, dtype=np.float32)) == []
    noise = np.random.default_rng(1).random((64, 64, 3)).astype(np.float32)
    assert not any(shows(noise, Scene(Thing(colour, shape))) for colour in COLOURS for shape in SHAPES)


def test_scenes_are_the_same_for_a_seed_and_none_is_both_learned_and_held_out() -> None:
    learned = [scene.prompt for scene in itertools.islice(paint_data.scenes(1), 3000)]
    assert learned == [scene.prompt for scene in itertools.islice(paint_data.scenes(1), 3000)]
    held_out = {scene.prompt for scene in itertools.islice(paint_data.scenes(2, held_out=True), 300)}
    assert not held_out & set(learned)
    assert len(held_out) > 30
    assert "a red circle above a blue square" in {*learned, *held_out}


SOUND_OF = waves()


def played(codes: sing_data.Codes) -> np.ndarray:
    sound: np.ndarray = SOUND_OF[codes[:CHECKED_FRAMES]].sum(axis=1).reshape(-1)
    return sound


def test_every_sound_has_the_pitches_that_its_prompt_asks_for() -> None:
    for sound in itertools.islice(sounds(5), 300):
        assert has_pitches(played(sound.codes), RATE_HZ, sound.spans), sound.prompt
        wrong = [Span(span.from_s, span.to_s, tuple(hz * 1.06 for hz in span.pitches_hz)) for span in sound.spans]
        assert not has_pitches(played(sound.codes), RATE_HZ, wrong), "a semitone off"


@pytest.mark.parametrize("held_out", [False, True])
def test_prompts_are_the_same_for_a_seed(held_out: bool) -> None:
    first, second = ([sound.prompt for sound in itertools.islice(sounds(7, held_out=held_out), 500)] for _ in range(2))
    assert first == second
    others = {sound.prompt for sound in itertools.islice(sounds(7, held_out=not held_out), 500)}
    assert not others & set(first)


def test_a_wrong_note_too_many_is_heard() -> None:
    right, wrong = SOUND_OF[steady(440.0)], SOUND_OF[steady(440.0)] + SOUND_OF[steady(500.0)]
    span = Span(0.0, 1.0, (440.0,))
    assert has_pitches(np.tile(right, 5), RATE_HZ, [span])
    assert not has_pitches(np.tile(wrong, 5), RATE_HZ, [span])
    assert not has_pitches(np.zeros(RATE_HZ), RATE_HZ, [span])
    assert not has_pitches(np.random.default_rng(0).normal(0, 0.3, RATE_HZ), RATE_HZ, [span])


@given(st.integers(0, sing_data.NOTES - 1))
def test_frames_join_without_a_click(note: int) -> None:
    one, other = SOUND_OF[plucked(note, 0)], SOUND_OF[plucked(note, 1)]
    step = np.abs(np.diff(np.concatenate([one, other])))
    assert step[len(one) - 1] <= np.delete(step, len(one) - 1).max()
    assert peaks_hz(np.concatenate([one, other]), RATE_HZ)[0] == pytest.approx(note_hz(note), rel=0.015)
