"""models.yaml, environment and flags -> `Settings`. Precedence: flag, environment, file, default."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from aquahost.config.checks import cross_check
from aquahost.config.environment import Setting, read_environment
from aquahost.config.mistakes import KeyPath, Mistake, Place, refuse
from aquahost.config.schema import Schema, is_secret
from aquahost.config.settings import Settings
from aquahost.config.yaml_tree import Value, parse_yaml
from aquahost.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A value given by a flag."""

    flag: str
    """As typed: "--port"."""
    path: KeyPath
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings, and where each value that is not a default came from."""

    settings: Settings
    origins: Mapping[KeyPath, Place]

    def origin(self, path: KeyPath) -> str:
        """Where the value at `path` came from: "models.yaml:3", a variable, a flag or "default"."""
        return str(self.origins.get(path, "default"))


def load_settings(path: Path, env: Mapping[str, str] = os.environ, overrides: tuple[Override, ...] = ()) -> Settings:
    """Settings of the file `path` under `env` and flags. Raises ConfigError with a line for each mistake."""
    return load(path, env, overrides).settings


def load(path: Path, env: Mapping[str, str] = os.environ, overrides: tuple[Override, ...] = ()) -> Loaded:
    """As `load_settings`, with origins."""
    schema = Schema()
    tree = parse_yaml(read_text(path), str(path))
    mistakes = list(tree.mistakes)
    if tree.value is None and not mistakes:  # it may have been cut off, which must not take all models away
        raise ConfigError(f"{path}: is empty; a host without models says so with: models: {{}}")
    if tree.value is not None and not isinstance(tree.value, dict):
        raise ConfigError(f"{path}: needs {schema.allowed(())}")
    value = _without_extras(tree.value or {}, schema)
    from_env, wrong_names = read_environment(env, schema)
    from_flags = [Setting(path=o.path, value=o.value, place=Place(source=o.flag)) for o in overrides]
    places = {key: Place(source=str(path), line=line) for key, line in tree.lines.items()}
    for setting in [*from_env, *from_flags]:
        _put(value, setting.path, setting.value)
        places[setting.path] = setting.place
    judge = _Judge(str(path), schema, value, places)
    settings = judge.validate()
    refuse(mistakes + wrong_names + judge.mistakes)
    assert settings is not None
    return Loaded(settings=_with_folders(settings, path), origins=places)


def read_text(path: Path) -> str:
    """The file's text. Raises ConfigError that says what to do where there is none."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; `aquahost up --demo` needs none") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a folder; give the models.yaml in it") from error
    except UnicodeDecodeError as error:
        line = bytes(error.object[: error.start]).count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text (byte 0x{error.object[error.start]:02x})") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _without_extras(value: dict[str, Value], schema: Schema) -> dict[str, Value]:
    """A copy without the x-… sections, and with empty sections where a section's keys are all missing."""
    kept = {key: item for key, item in value.items() if not key.startswith("x-")}
    return _filled(kept, (), schema)


def _filled(value: dict[str, Value], path: KeyPath, schema: Schema) -> dict[str, Value]:
    filled: dict[str, Value] = {}
    for key, item in value.items():
        place = (*path, key)
        if item is None and schema.is_mapping(place):
            item = {}
        filled[key] = _filled(item, place, schema) if isinstance(item, dict) else item
    return filled


def _put(value: dict[str, Value], path: KeyPath, item: Value) -> None:
    for key in path[:-1]:
        inner = value.setdefault(key, {})
        if not isinstance(inner, dict):
            return  # reported already: that section is no mapping
        value = inner
    value[path[-1]] = item


def _with_folders(settings: Settings, path: Path) -> Settings:
    """With sources and files that are relative made absolute."""
    models = {}
    for name, model in settings.models.items():
        if model.source.startswith(("./", "../", "~/")):
            folder = (path.absolute().parent / Path(model.source).expanduser()).resolve()
            model = model.model_copy(update={"source": str(folder)})
        models[name] = model
    files = {
        key: str(path.absolute().parent / Path(given).expanduser())  # as they are: renewed certificates are new links
        for key in ("tls_cert", "tls_key")
        if (given := getattr(settings.host, key)) is not None
    }
    return settings.model_copy(update={"models": models, "host": settings.host.model_copy(update=files)})


class _Judge:
    """Validates merged values and says of each mistake where it is."""

    def __init__(self, source: str, schema: Schema, value: dict[str, Value], places: Mapping[KeyPath, Place]) -> None:
        self._source = source
        self._schema = schema
        self._value = value
        self._places = places
        self.mistakes: list[Mistake] = []

    def validate(self) -> Settings | None:
        """The settings, or None with `mistakes` filled."""
        settings = None
        try:
            settings = Settings.model_validate_json(json.dumps(self._value), strict=True)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                self._add(*self._explain(details))
        for path, message in cross_check(self._value):
            self._add(path, message)
        return settings

    def _add(self, path: KeyPath, message: str) -> None:
        self.mistakes.append(Mistake(place=self._place(path), path=path, message=message))

    def _place(self, path: KeyPath) -> Place:
        for length in range(len(path), 0, -1):
            if place := self._places.get(path[:length]):
                return place
        return Place(source=self._source)

    def _explain(self, details: ErrorDetails) -> tuple[KeyPath, str]:
        path, given = self._locate(details)
        if details["type"] == "extra_forbidden":
            return path, self._schema.unknown_key(path)
        if details["type"] == "missing":
            return path, f"missing; {self._schema.allowed(path)}"
        if "[key]" in details["loc"]:
            return path, "not a name; letters, digits and . _ - : / are allowed (at most 128, first a letter or digit)"
        if self._schema.is_mapping(path) and details["type"] == "value_error":
            return path, str(details["ctx"]["error"])
        if details["type"] in ("model_type", "dict_type"):
            return path, f"needs {self._schema.allowed(path)}"
        return path, f"{_shown(path, given)} is not allowed; {self._schema.allowed(path)}"

    def _locate(self, details: ErrorDetails) -> tuple[KeyPath, Any]:
        """The key at fault and its value; pydantic's location has names of union branches in it, too."""
        path: list[str] = []
        value: Any = self._value
        for part in details["loc"]:
            if isinstance(value, dict) and part in value:
                value = value[part]
                path.append(str(part))
        if details["type"] == "missing":
            path.append(str(details["loc"][-1]))
        return tuple(path), value


def _shown(path: KeyPath, value: Any) -> str:
    if value is None:
        return "nothing"
    if is_secret(path):
        return "the value given"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
