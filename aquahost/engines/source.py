"""From a model entry's `source` to a folder on this machine."""

from __future__ import annotations

from pathlib import Path

from aquahost.config.settings import ModelSettings
from aquahost.errors import LoadError

DEMO_PREFIX = "demo:"
_WANTED_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def resolve_source(settings: ModelSettings) -> Path:
    """The folder that holds the model: a demo model (made on first use), an existing folder, or a hub id's snapshot.

    Raises LoadError that says what was looked for and what to do. Touches the network only for a hub id that is not
    in the local cache.
    """
    source = settings.source
    if source.startswith(DEMO_PREFIX):
        from aquahost.demo.make import demo_model_path

        return demo_model_path(source.removeprefix(DEMO_PREFIX))
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _checked(folder)
    if folder.exists():
        raise LoadError(f"{folder} is a file; source must be a model's folder or a hub id (org/name)")
    if folder.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise LoadError(f"there is no folder {folder}")
    return _snapshot(settings)


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").is_file() and not (folder / "model_index.json").is_file():
        raise LoadError(
            f"{folder} is no model: it has neither config.json (transformers) nor model_index.json (diffusers)"
        )
    return folder


def _snapshot(settings: ModelSettings) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [*_WANTED_FILES, "*.py"] if settings.trust_remote_code else _WANTED_FILES
    revision = f" at revision {settings.revision}" if settings.revision else ""
    try:
        found = snapshot_download(settings.source, revision=settings.revision, allow_patterns=wanted)
    except HFValidationError as error:
        raise LoadError(f"{settings.source!r} is neither a folder nor a hub id (org/name)") from error
    except LocalEntryNotFoundError as error:
        raise LoadError(
            f"{settings.source}{revision} is not in the local cache and the hub can't be reached; "
            "give a folder as source, or load it once while online"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise LoadError(f"{settings.source}{revision} can't be fetched from the hub: {error}") from error
    return _checked(Path(found))
