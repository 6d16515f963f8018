"""AQUAHOST_* variables that set keys of models.yaml: AQUAHOST_HOST__PORT=9000 is host.port."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from aquahost.config.mistakes import KeyPath, Mistake, Place
from aquahost.config.schema import Schema
from aquahost.config.yaml_tree import Value, parse_scalar

PREFIX = "AQUAHOST_"
SECTIONS = ("host", "scheduler", "leasing", "jobs")
"""The sections whose keys can be set from the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value from outside the file."""

    path: KeyPath
    value: Value
    place: Place


def read_environment(env: Mapping[str, str], schema: Schema) -> tuple[list[Setting], list[Mistake]]:
    """The settings in `env`, and what is wrong with their names. A variable without __ is none of ours; one that
    is empty counts as not set."""
    settings: list[Setting] = []
    mistakes: list[Mistake] = []
    for variable in sorted(env):
        text = env[variable]
        if not variable.startswith(PREFIX) or "__" not in variable or not text.strip():
            continue
        path = tuple(part.lower() for part in variable.removeprefix(PREFIX).split("__"))
        if path in set(_settable(schema)):
            value = text if schema.takes_text(path) else parse_scalar(text.strip())
            settings.append(Setting(path=path, value=value, place=Place(source=variable)))
        else:
            mistakes.append(Mistake(place=Place(source=variable), path=(), message=_unknown(variable, schema)))
    return settings, mistakes


def variable_of(path: KeyPath) -> str:
    """The variable that sets the key at `path`."""
    return PREFIX + "__".join(path).upper()


def _settable(schema: Schema) -> list[KeyPath]:
    return [leaf for section in SECTIONS for leaf in schema.leaves((section,))]


def _unknown(variable: str, schema: Schema) -> str:
    names = [variable_of(path) for path in _settable(schema)]
    if near := difflib.get_close_matches(variable.upper(), names, n=1, cutoff=0.7):
        return f"unknown variable; did you mean {near[0]}?"
    return "unknown variable; keys of host, scheduler and leasing can be set, like AQUAHOST_HOST__PORT"
