"""Where a daemon's settings came from, so that they can be read again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aquahost.config.loader import Override, load_settings
from aquahost.config.settings import Settings


@dataclass(slots=True, kw_only=True)
class SettingsSource:
    """A models.yaml with the variables and flags that go before it, as they were at the start."""

    path: Path
    """Absolute: the file that was read last without a mistake."""
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    overrides: tuple[Override, ...] = ()

    def read(self, path: Path | None = None) -> Settings:
        """The settings as they are now, of another file if one is given, which is then the one to be read from now on.
        Raises ConfigError with a line for each mistake."""
        path = path or self.path
        settings = load_settings(path, self.env, self.overrides)
        self.path = path
        return settings
