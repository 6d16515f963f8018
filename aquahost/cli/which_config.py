"""Which models.yaml a command is about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aquahost.cli.output import say
from aquahost.config.paths import config_file, demo_config_file
from aquahost.errors import ConfigError


def which_config(env: Mapping[str, str], given: str | None, *, demo: bool = False, quiet: bool = False) -> Path:
    """The file given, or that of AQUAHOST_CONFIG, or the user's; the packaged demo where the user has none.

    Says so on stderr when it falls back to the demo, unless `quiet`. Raises ConfigError if both a file and the demo are
    asked for.
    """
    if demo and given:
        raise ConfigError("--models and --demo exclude each other")
    if demo:
        return demo_config_file()
    if given:
        return Path(given)
    path = config_file(env)
    if env.get("AQUAHOST_CONFIG") or path.exists():
        return path
    if not quiet:
        say(f"no {path}; taking the packaged demo (three small models, no download)")
    return demo_config_file()
