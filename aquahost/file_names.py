"""Names for the files that images and sounds are saved in: the same whoever saves them."""

from __future__ import annotations

import re
from pathlib import Path

_MOST_NAME = 40


def free_name(prompt: str, suffix: str, folder: Path) -> Path:
    """A name made of the prompt's first words that no file in `folder` has: "a-red-house.png", "a-red-house-2.png"."""
    words = "-".join(re.findall(r"\w+", prompt.lower())).encode()[:_MOST_NAME].decode(errors="ignore").strip("-")
    stem = words or "reply"
    number = 1
    while (folder / (path := _numbered(stem, number, suffix))).exists():
        number += 1
    return path


def numbered(path: Path, number: int) -> Path:
    """`path` for the result of this number (from 1): "house.png", "house-2.png"."""
    return path.with_name(_numbered(path.stem, number, path.suffix.removeprefix(".")).name) if number > 1 else path


def _numbered(stem: str, number: int, suffix: str) -> Path:
    return Path(f"{stem}.{suffix}" if number == 1 else f"{stem}-{number}.{suffix}")
