"""Profiles on disk: one JSON file each, in `paths.profile_dir()`. Imports no torch."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from pathlib import Path

import msgspec

from aquahost.config.paths import private_dir, profile_dir
from aquahost.errors import StartError
from aquahost.profiles.profile import SCHEMA_VERSION, Profile

logger = logging.getLogger(__name__)


class _Version(msgspec.Struct):
    schema_version: int


def save(profile: Profile) -> Path:
    """Write a profile, in the place of an older one of the same key and GPU, whole or not at all; returns its file.

    Raises StartError if the folder can't be written.
    """
    folder = private_dir(profile_dir())
    path = folder / _file_name(profile)
    text = msgspec.json.format(msgspec.json.encode(profile), indent=2) + b"\n"
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".json", delete=False) as unfinished:
            unfinished.write(text)
        os.replace(unfinished.name, path)
    except OSError as error:
        raise StartError(
            f"the profile can't be kept in {folder}: {error.strerror}; set AQUAHOST_PROFILE_DIR"
        ) from error
    return path


def load(source: str, gpu: str, dtype: str, group: int, *, key: str | None = None) -> Profile | None:
    """The stored profile of this model on this GPU, of this key where one is given: a measured one before one that was
    worked out, then the newest; None if there is none."""
    found = [
        profile
        for profile in all_profiles()
        if (profile.source, profile.gpu, profile.dtype, profile.group) == (source, gpu, dtype, group)
        and key in (None, profile.key)
    ]
    return max(found, key=lambda profile: (profile.measured, profile.at), default=None)


def all_profiles() -> list[Profile]:
    """All that can be read, by source and GPU. What is damaged or of another version is left out, with a warning."""
    folder = profile_dir()
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    profiles = [profile for path in paths if not path.name.startswith(".") and (profile := _read(path))]
    return sorted(profiles, key=lambda one: (one.source, one.gpu, one.dtype, one.group, not one.measured, one.at))


def _read(path: Path) -> Profile | None:
    try:
        text = path.read_bytes()
        version = msgspec.json.decode(text, type=_Version).schema_version
        if version != SCHEMA_VERSION:
            logger.warning("the profile %s is ignored: it is of version %d, not %d", path, version, SCHEMA_VERSION)
            return None
        return msgspec.json.decode(text, type=Profile)
    except (OSError, msgspec.DecodeError) as error:
        logger.warning("the profile %s is ignored: %s; remove it", path, error)
        return None


def _file_name(profile: Profile) -> str:
    """Different for every source, GPU, dtype, group, key and way of making it; readable as far as that goes."""
    facts = (profile.source, profile.gpu, profile.dtype, profile.group, profile.key, profile.measured)
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
    words = re.sub(r"[^A-Za-z0-9.]+", "-", f"{Path(profile.source).name[-60:]}-{profile.gpu[:40]}").strip("-.")
    return f"{words}-{digest}.json"
