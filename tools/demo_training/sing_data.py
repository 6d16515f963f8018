"""What the sound demo learns from: prompts, and the tokens and pitches of the sounds that they ask for.

Sound comes in frames of 0.1 s, in which three voices each play one token: silence, a steady tone, or 0.1 s of
a plucked note. Tones lie on a grid of 10 Hz, so that each frame holds whole periods and frames join without a click.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

RATE_HZ = 8000
FRAME_SAMPLES = 800
FRAMES_PER_S = 10
VOICES = 3
FRAMES = 80
"""Of a sound as long as the model can make one."""
CHECKED_FRAMES = 40
"""Of a sound of usual length."""

GRID_HZ = 10
LOWEST_HZ, HIGHEST_HZ = 200, 1050
TONES = (HIGHEST_HZ - LOWEST_HZ) // GRID_HZ + 1
NAMES = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
NOTES = 25
"""From middle C, two octaves up."""
PLUCK_FRAMES = 16
TOKENS = 1 + TONES + NOTES * PLUCK_FRAMES
SILENCE = 0

_MAJOR, _MINOR = (0, 4, 7), (0, 3, 7)
_SCALE = (0, 2, 4, 5, 7, 9)
COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
NOTE_FRAMES = 4
"""Of each of several notes in a row."""
_DECAY_S = 0.5
_HARMONICS = (1.0, 0.5, 0.25)
_LOUDNESS = 0.28

Codes = npt.NDArray[np.int64]
"""Tokens by frame and voice."""


@dataclass(frozen=True, slots=True)
class Span:
    """Pitches that are to be heard together for a while."""

    from_s: float
    to_s: float
    pitches_hz: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Sound:
    """A prompt and what it asks for."""

    prompt: str
    codes: Codes
    spans: tuple[Span, ...]


def note_hz(note: int) -> float:
    """The pitch of the note so many semitones above middle C, in equal temperament."""
    return float(440.0 * 2 ** ((note - 9) / 12))


def steady(hz: float) -> int:
    """The token of a tone, the nearest one on the grid."""
    return 1 + round((hz - LOWEST_HZ) / GRID_HZ)


def plucked(note: int, age: int) -> int:
    """The token of a note that was plucked `age` frames ago."""
    return 1 + TONES + note * PLUCK_FRAMES + age if age < PLUCK_FRAMES else SILENCE


def waves() -> npt.NDArray[np.float32]:
    """The sound of every token, one frame each."""
    at_s = np.arange(FRAME_SAMPLES) / RATE_HZ
    all_waves = np.zeros((TOKENS, FRAME_SAMPLES), dtype=np.float32)
    for tone in range(TONES):
        all_waves[1 + tone] = _LOUDNESS * np.sin(2 * np.pi * (LOWEST_HZ + GRID_HZ * tone) * at_s)
    for note in range(NOTES):
        hz = GRID_HZ * round(note_hz(note) / GRID_HZ)
        string = sum(part * np.sin(2 * np.pi * hz * (k + 1) * at_s) for k, part in enumerate(_HARMONICS))
        for age in range(PLUCK_FRAMES):
            fades = np.exp(-(at_s + age / FRAMES_PER_S) / _DECAY_S)
            all_waves[plucked(note, age)] = _LOUDNESS * string * fades
    return all_waves


def sounds(seed: int, *, held_out: bool = False) -> Iterator[Sound]:
    """Prompts without end, the same for a seed. One in ten of what can be asked for is in no prompt unless `held_out`,
    and then nothing else."""
    chance = Random(seed)
    while True:
        make = chance.choices((_tone, _note, _chord, _row), weights=(5, 2, 3, 3))[0]
        key, sound = make(chance)
        if (Random(key).random() < 0.1) is held_out:
            yield sound


def _tone(chance: Random) -> tuple[str, Sound]:
    hz = chance.randint(LOWEST_HZ + 20, HIGHEST_HZ - 10)
    words = chance.choice(
        (
            "a {} hertz tone",
            "a tone of {} hertz",
            "a {} Hz tone",
            "{} hertz",
            "a steady tone at {} hertz",
            "a {} hertz sine",
        )
    )
    return f"tone {hz}", _held(words.format(hz), [float(hz)])


def _note(chance: Random) -> tuple[str, Sound]:
    note = chance.randrange(NOTES - 1)
    name = f"{NAMES[note % 12]} {4 + note // 12}" if " " in NAMES[note % 12] else f"{NAMES[note % 12]}{4 + note // 12}"
    words = chance.choice(("the note {}", "the note {} held", "a note, {}", "{}"))
    if chance.random() < 0.5:
        return f"pluck {note}", _plucked(f"{words.format(name)}, plucked", [note])
    return f"note {note}", _held(words.format(name), [note_hz(note)])


def _chord(chance: Random) -> tuple[str, Sound]:
    root, minor, is_plucked = chance.randrange(12), chance.random() < 0.5, chance.random() < 0.5
    notes = [root + step for step in (_MINOR if minor else _MAJOR)]
    article = "an" if NAMES[root][0] in "AEF" else "a"
    words = f"{article} {NAMES[root]} {'minor' if minor else 'major'} chord"
    if chance.random() < 0.15:
        words = words.split(" ", 1)[1]
    key = f"chord {root} {minor} {is_plucked}"
    if is_plucked:
        return key, _plucked(f"{words}, plucked", notes)
    return key, _held(words + chance.choice(("", "", ", held")), [note_hz(note) for note in notes])


def _row(chance: Random) -> tuple[str, Sound]:
    word, falls = chance.choice(list(COUNTS)), chance.random() < 0.5
    root = chance.choice((None, *range(12)))
    steps = _SCALE[: COUNTS[word]]
    notes = [(root or 0) + step for step in steps]
    if falls:
        notes.reverse()
    words = f"{word} {'falling' if falls else 'rising'} notes"
    if root is not None:
        words += f" {'to' if falls else 'from'} {NAMES[root]}"
    codes = np.full((FRAMES, VOICES), SILENCE, dtype=np.int64)
    spans = []
    for number, note in enumerate(notes):
        at = number * NOTE_FRAMES
        last = number == len(notes) - 1
        frames = min(PLUCK_FRAMES, FRAMES - at) if last else NOTE_FRAMES
        codes[at : at + frames, 0] = [plucked(note, age) for age in range(frames)]
        spans.append(Span(at / FRAMES_PER_S, (at + NOTE_FRAMES) / FRAMES_PER_S, (note_hz(note),)))
    return f"row {word} {falls} {root}", Sound(words, codes, tuple(spans))


def _held(prompt: str, pitches_hz: list[float]) -> Sound:
    codes = np.full((FRAMES, VOICES), SILENCE, dtype=np.int64)
    for voice, hz in enumerate(pitches_hz):
        codes[:, voice] = steady(hz)
    return Sound(prompt, codes, (Span(0.0, CHECKED_FRAMES / FRAMES_PER_S, tuple(pitches_hz)),))


def _plucked(prompt: str, notes: list[int]) -> Sound:
    codes = np.full((FRAMES, VOICES), SILENCE, dtype=np.int64)
    for voice, note in enumerate(notes):
        codes[:, voice] = [plucked(note, age) for age in range(FRAMES)]
    return Sound(prompt, codes, (Span(0.0, 0.6, tuple(note_hz(note) for note in notes)),))
