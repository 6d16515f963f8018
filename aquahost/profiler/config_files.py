"""A model's config files, which say what it costs; its weights are not needed."""

from __future__ import annotations

from pathlib import Path

from aquahost.config.settings import ModelSettings
from aquahost.demo.make import demo_folder, demo_model_path
from aquahost.engines.source import DEMO_PREFIX
from aquahost.errors import ConfigError, LoadError

PATTERNS = ("config.json", "model_index.json", "*/config.json", "*/*_config.json")
"""In a model's folder: of transformers' models, and of diffusers' pipelines and their parts."""


def config_folder(name: str, settings: ModelSettings) -> Path:
    """The folder with the config of entry `name`: a demo model (made on first use), a folder, or the hub's files.

    Raises ConfigError naming the entry if there is no config, and saying what to do. Goes to the network only for a hub
    id whose config is not in the local cache.
    """
    source = settings.source
    if source.startswith(DEMO_PREFIX):
        try:
            return _demo(source.removeprefix(DEMO_PREFIX))
        except LoadError as error:
            raise ConfigError(f"{name}: {error}") from error
    if Path(source).is_absolute():
        if not _is_model(Path(source)):
            what = "has neither config.json nor model_index.json" if Path(source).is_dir() else "is no folder"
            raise ConfigError(
                f"{name}: a model without config: {subject(name, source)} {what}; put the model's config there (no "
                "weights are needed), or give a hub id (org/name)"
            )
        return Path(source)
    return _from_hub(name, settings)


def known_config_folder(settings: ModelSettings) -> Path | None:
    """As `config_folder`, where nothing need be made or fetched for it; else None. Imports neither torch nor models."""
    source = settings.source
    if source.startswith(DEMO_PREFIX):
        try:
            folder = demo_folder(source.removeprefix(DEMO_PREFIX))
        except LoadError:
            return None
        return folder if _is_model(folder) else None
    if Path(source).is_absolute():
        return Path(source) if _is_model(Path(source)) else None
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return _snapshot(settings, offline=True)
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None


def _demo(name: str) -> Path:
    """Made without the libraries' bars, which would stand among a command's own lines."""
    if not demo_folder(name).is_dir():
        from aquahost.engines.quiet import quiet_transformers

        quiet_transformers()
    return demo_model_path(name)


def subject(name: str, source: str) -> str:
    """What a message calls the source that begins with the entry's name: that name may be the source itself."""
    return "it" if name == source else source


def _from_hub(name: str, settings: ModelSettings) -> Path:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    missing = f"{name}: a model without config: {subject(name, settings.source)}"
    try:
        folder = _snapshot(settings, offline=False)
    except HFValidationError as error:
        raise ConfigError(f"{missing} is neither a folder nor a hub id (org/name)") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ConfigError(
            f"{missing} is not in the local cache and can't be had from the hub; give a folder with its config.json "
            "as source (no weights are needed)"
        ) from error
    if not _is_model(folder):
        raise ConfigError(f"{missing} has neither config.json nor model_index.json on the hub")
    return folder


def _snapshot(settings: ModelSettings, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    wanted = [*PATTERNS, "*.py"] if settings.trust_remote_code else list(PATTERNS)
    path = snapshot_download(
        settings.source, revision=settings.revision, allow_patterns=wanted, local_files_only=offline
    )
    return Path(path)


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / "model_index.json").is_file()
