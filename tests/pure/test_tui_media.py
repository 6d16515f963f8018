"""Pictures and sounds as characters."""

from __future__ import annotations

import io
import wave

import pytest
from PIL import Image

from aquahost_tui.widgets.half_blocks import Pixel, fitting, read_picture, strips_of
from aquahost_tui.widgets.waveform import peaks_of, read_sound, wave_lines

RED: Pixel = (255, 0, 0)
BLUE: Pixel = (0, 0, 255)


def file_of(image: Image.Image, name: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, name)
    return file.getvalue()


def wav(samples: list[int], *, rate_hz: int = 8000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate_hz)
        sound.writeframes(b"".join(sample.to_bytes(width, "little", signed=True) for sample in samples))
    return file.getvalue()


@pytest.mark.parametrize(
    ("image", "cells", "scaled"),
    [
        ((512, 512), (80, 20), (40, 40)),
        ((512, 256), (80, 40), (80, 40)),
        ((1000, 1), (80, 20), (80, 1)),
        ((1, 1000), (80, 20), (1, 40)),
        ((16, 16), (80, 20), (32, 32)),
        ((16, 16), (80, 60), (80, 80)),
        ((40, 40), (80, 20), (40, 40)),
    ],
)
def test_an_image_keeps_its_shape_and_fits(
    image: tuple[int, int], cells: tuple[int, int], scaled: tuple[int, int]
) -> None:
    assert fitting(*image, *cells) == scaled


def test_two_pixels_make_a_cell() -> None:
    lines = strips_of([[RED, RED, BLUE], [BLUE, BLUE, BLUE], [RED, RED, RED]])
    assert [line.text for line in lines] == ["▀▀▀", "▀▀▀"]
    first = [(segment.text, segment.style) for segment in lines[0]]
    assert [(text, style.color.triplet, style.bgcolor.triplet) for text, style in first if style and style.color
            and style.bgcolor] == [("▀▀", RED, BLUE), ("▀", BLUE, BLUE)]  # fmt: skip
    last = next(iter(lines[1])).style
    assert last is not None
    assert last.bgcolor is None


@pytest.mark.parametrize(
    ("mode", "name"), [("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG"), ("RGB", "JPEG"), ("P", "PNG")]
)
def test_any_image_becomes_a_picture(mode: str, name: str) -> None:
    picture = read_picture(file_of(Image.new(mode, (300, 200)), name), 60, 30)
    assert (picture.width_px, picture.height_px) == (300, 200)
    assert [line.cell_length for line in picture.lines] == [60] * 20


@pytest.mark.parametrize("data", [b"", b"no image", file_of(Image.new("RGB", (64, 64)))[:60]])
def test_what_is_no_image_is_said(data: bytes) -> None:
    with pytest.raises(ValueError, match="the picture cannot be shown: "):
        read_picture(data, 10, 10)


def test_a_picture_in_no_room_is_one_cell_at_least() -> None:
    assert [line.cell_length for line in read_picture(file_of(Image.new("RGB", (9, 9))), 0, 0).lines] == [1]


def test_peaks_are_the_loudest_of_each_part() -> None:
    assert peaks_of([0, 16384, -32768, 5, 0, 0], 3) == [0.5, 1.0, 0.0]
    assert peaks_of([8192], 5) == [0.25]
    assert peaks_of([], 5) == []


def test_a_sound_tells_its_length_rate_and_channels() -> None:
    sound = read_sound(wav([0, 100] * 4000, rate_hz=16_000, channels=2), 10)
    assert (sound.length_s, len(sound.peaks)) == (0.25, 10)
    assert sound.words == "0.2 s, 16 kHz, stereo"
    assert read_sound(wav([1], rate_hz=44_100), 10).words == "0.0 s, 44.1 kHz, mono"
    assert read_sound(wav([], channels=6), 10).words == "0.0 s, 8 kHz, 6 channels"


@pytest.mark.parametrize("data", [b"", b"RIFF", b"no sound at all", wav([1, 2], width=3)])
def test_what_cannot_be_drawn_is_said(data: bytes) -> None:
    with pytest.raises(ValueError, match="the sound cannot be drawn: "):
        read_sound(data, 10)


def test_a_sound_that_is_cut_off_is_drawn_as_far_as_it_goes() -> None:
    assert read_sound(wav([100] * 50)[:-1], 10).peaks


def test_a_waveform_is_mirrored_and_drawn_to_the_loudest() -> None:
    assert wave_lines([0.0, 0.001, 0.25, 0.5], 4) == ["   █", " ▁██", " ▔██", "   █"]
    assert wave_lines([0.375, 0.5], 2) == ["▆█", "▀█"]


def test_silence_is_an_empty_waveform() -> None:
    assert wave_lines([0.0, 0.0], 2) == ["  ", "  "]
    assert wave_lines([], 2) == ["", ""]
