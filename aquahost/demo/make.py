"""Demo models made on first use and kept in the cache, without a download."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from aquahost.config.paths import cache_dir
from aquahost.errors import LoadError

VERSION = "v1"
"""Part of the path; raised whenever the models change."""

NAMES = ("chat", "paint", "sing")


def demo_folder(name: str) -> Path:
    """Where the demo model `name` lies once it is made. Raises LoadError if there is no such model."""
    if name not in NAMES:
        raise LoadError(f"there is no demo model {name!r}; there are {', '.join(NAMES)}")
    return cache_dir() / "demo-models" / VERSION / name


def demo_model_path(name: str) -> Path:
    """The folder of the demo model `name`, made first if it isn't there; safe with several processes at once.

    Raises LoadError if there is no such demo model or the cache can't be written.
    """
    folder = demo_folder(name)
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
        try:
            make_demo_model(name, unfinished)
            _publish(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise LoadError(f"the demo model {name!r} can't be kept in {folder.parent}: {error}") from error
    return folder


def make_demo_model(name: str, folder: Path) -> None:
    """Make the demo model `name` in `folder`; the same bytes every time. torch's random state stays as it was."""
    import torch

    from aquahost.demo import models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        {"chat": models.make_chat, "paint": models.make_paint, "sing": models.make_sing}[name](folder)


def _publish(unfinished: Path, folder: Path) -> None:
    unfinished.chmod(0o755)  # mkdtemp's folders are the user's alone
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same bytes
            raise
