"""From a model entry's `source` to a folder on this machine."""

from __future__ import annotations

from pathlib import Path

from aquahost.config.settings import Kind, ModelSettings
from aquahost.errors import LoadError

DEMO_PREFIX = "demo:"
_ALWAYS_WANTED = ("*.json", "*.txt", "*.model", "*.jinja")
_SHARD = "-?????-of-?????.safetensors"
_MODEL = ("model.safetensors", f"model{_SHARD}")
_PIPELINE = tuple(f"*/{stem}{end}" for stem in ("model", "diffusion_pytorch_model") for end in (".safetensors", _SHARD))
_WEIGHTS = {Kind.LLM: _MODEL, Kind.IMAGE: _PIPELINE, Kind.AUDIO: _MODEL + _PIPELINE}
"""What the libraries load, a pipeline's from its parts' folders alone; not the same weights again as consolidated
files, variants or single-file checkpoints."""


def resolve_source(settings: ModelSettings) -> Path:
    """The folder that holds the model: a demo model (made on first use), an existing folder, or a hub id's snapshot.

    Folders are absolute (the configuration makes them so), so that what lies where the process runs hides no hub id.
    Raises LoadError that says what was looked for and what to do. Touches the network only for a hub id that is not
    in the local cache.
    """
    source = settings.source
    if source.startswith(DEMO_PREFIX):
        from aquahost.demo.make import demo_model_path

        return demo_model_path(source.removeprefix(DEMO_PREFIX))
    folder = Path(source)
    if folder.is_absolute():
        return _checked(folder)
    if source.startswith((".", "~")) or source.count("/") > 1:
        raise LoadError(
            f"there is no folder {source}: folders are absolute, or in models.yaml begin with ./, ../ or ~/"
        )
    return _snapshot(settings)


def _checked(folder: Path) -> Path:
    if not folder.exists():
        raise LoadError(f"there is no folder {folder}")
    if not folder.is_dir():
        raise LoadError(f"{folder} is a file; source must be a model's folder or a hub id (org/name)")
    if not (folder / "config.json").is_file() and not (folder / "model_index.json").is_file():
        raise LoadError(
            f"{folder} is no model: it has neither config.json (transformers) nor model_index.json (diffusers)"
        )
    return folder


def _snapshot(settings: ModelSettings) -> Path:
    wanted = [*_ALWAYS_WANTED, *_WEIGHTS.get(settings.kind, ())]
    if settings.trust_remote_code:
        wanted.append("*.py")
    folder = _checked(_download(settings, wanted))
    if not any(folder.rglob("*.safetensors")):  # then its weights may be there as a variant (fp16) alone
        _download(settings, [pattern.replace("model", "model.*", 1) for pattern in _WEIGHTS.get(settings.kind, ())])
    return folder


def _download(settings: ModelSettings, wanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    revision = f" at revision {settings.revision}" if settings.revision else ""
    try:
        return Path(snapshot_download(settings.source, revision=settings.revision, allow_patterns=wanted))
    except HFValidationError as error:
        raise LoadError(f"{settings.source!r} is neither a folder nor a hub id (org/name)") from error
    except LocalEntryNotFoundError as error:
        raise LoadError(
            f"{settings.source}{revision} is not in the local cache and the hub can't be reached; "
            "give a folder as source, or load it once while online"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise LoadError(f"{settings.source}{revision} can't be fetched from the hub: {error}") from error
