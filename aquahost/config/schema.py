"""The JSON Schema of models.yaml, and what it says about a key in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from aquahost.config.kinds import KINDS_OF_KEY, takes
from aquahost.config.mistakes import KeyPath
from aquahost.config.settings import Kind, Settings

Fragment = dict[str, Any]
"""The part of the schema that describes one key's value, with its $ref followed."""

_SECRETS = {"key", "admin_key"}
_FORMATS = {"ipv4": "an IPv4 address", "ipv6": "an IPv6 address", "hostname": "a host name"}


def json_schema() -> Fragment:
    """JSON Schema (draft 2020-12) of models.yaml, for editors; published as docs/models.schema.json."""
    schema = _tidy(Settings.model_json_schema())
    assert isinstance(schema, dict)
    _add_kinds(schema["$defs"]["ModelSettings"])
    schema["patternProperties"] = {"^x-": {"description": "Anything; a place for anchors."}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "aquahost models.yaml",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def is_secret(path: KeyPath) -> bool:
    """Whether the value of this key must never be shown."""
    return bool(path) and path[-1] in _SECRETS and path[0] in ("tenants", "host")


class Schema:
    """Answers questions about keys: what exists, what is allowed, what was probably meant."""

    def __init__(self) -> None:
        self._root = json_schema()

    def fragment(self, path: KeyPath) -> Fragment | None:
        """What describes the value at `path`; None if there is no such key."""
        fragment = self._follow(self._root)
        for key in path:
            inner = fragment.get("properties", {}).get(key) or self._named(fragment, key)
            if inner is None:
                return None
            fragment = self._follow(inner)
        return fragment

    def keys(self, path: KeyPath) -> list[str]:
        """The keys that the mapping at `path` may have; [] where names are free."""
        return list((self.fragment(path) or {}).get("properties", {}))

    def is_mapping(self, path: KeyPath) -> bool:
        """Whether the value at `path` is a mapping."""
        return (self.fragment(path) or {}).get("type") == "object"

    def takes_text(self, path: KeyPath) -> bool:
        """Whether the value at `path` is text and nothing else."""
        return {str(branch.get("type")) for branch in _branches(self.fragment(path) or {})} == {"string"}

    def allowed(self, path: KeyPath) -> str:
        """What the value at `path` may be, in words: "a whole number from 0 to 65535"."""
        fragment = self.fragment(path) or {}
        if fragment.get("type") == "object":
            keys = self.keys(path)
            return f"keys with values: {', '.join(keys)}" if keys else "names, each with its settings"
        return " or ".join(_words(self._follow(branch)) for branch in _branches(fragment))

    def unknown_key(self, path: KeyPath) -> str:
        """What to say of a key that does not exist: the nearest valid one, its proper place, or all that exist."""
        parent, key = path[:-1], path[-1]
        known = self.keys(parent)
        near = difflib.get_close_matches(key.replace("-", "_").lower(), known, n=1, cutoff=0.6)
        elsewhere = [".".join(place) for place in self._places(key) if place[:-1] != parent]
        if near and (not elsewhere or difflib.SequenceMatcher(None, key, near[0]).ratio() > 0.8):
            return f"unknown key; did you mean {near[0]}?"
        if elsewhere:
            return f"unknown key here; it belongs to {elsewhere[0]}"
        return f"unknown key; allowed are {', '.join(known)}"

    def leaves(self, path: KeyPath = ()) -> Iterator[KeyPath]:
        """Every key below `path` that holds no mapping; names that are free are not entered."""
        for key in self.keys(path):
            if self.is_mapping((*path, key)):
                yield from self.leaves((*path, key))
            else:
                yield (*path, key)

    def _places(self, key: str) -> list[KeyPath]:
        entries = [("models", "NAME", *leaf) for leaf in self._entry_leaves("models")]
        entries += [("tenants", "NAME", *leaf) for leaf in self._entry_leaves("tenants")]
        return [path for path in [*self.leaves(), *entries] if path[-1] == key]

    def _entry_leaves(self, section: str) -> list[KeyPath]:
        return [leaf[2:] for leaf in self.leaves((section, "NAME"))]

    def _named(self, fragment: Fragment, key: str) -> Fragment | None:
        named = fragment.get("additionalProperties")
        return named if isinstance(named, dict) and key not in ("", None) else None

    def _follow(self, fragment: Fragment) -> Fragment:
        reference = fragment.get("$ref")
        if reference is None:
            return fragment
        target: Fragment = self._root["$defs"][reference.removeprefix("#/$defs/")]
        return {**target, **{key: value for key, value in fragment.items() if key != "$ref"}}


def _branches(fragment: Fragment) -> list[Fragment]:
    return [branch for branch in fragment.get("anyOf", [fragment]) if branch.get("type") != "null"]


def _words(branch: Fragment) -> str:
    if "const" in branch:
        return str(branch["const"])
    if "enum" in branch:
        return f"one of {', '.join(branch['enum'])}"
    match branch.get("type"):
        case ["integer", "string"]:
            return "a size like 80GiB or 512MiB, or a number of bytes"
        case ["number", "string"]:
            return "a length of time like 30s, 500ms or 5m, or a number of seconds"
        case "array":
            return "a list of names, like [chat, paint]"
        case "boolean":
            return "true or false"
        case "integer":
            return f"a whole number{_range(branch)}"
        case "number":
            return f"a number{_range(branch)}"
        case "string" if branch.get("format") in _FORMATS:
            return _FORMATS[branch["format"]]
        case "string" if "minLength" in branch:
            return f"text of at least {branch['minLength']} characters"
        case _:
            return "text"


def _range(branch: Fragment) -> str:
    low, above, high = branch.get("minimum"), branch.get("exclusiveMinimum"), branch.get("maximum")
    if low is not None:
        return f", {low} or more" if high is None else f" from {low} to {high}"
    if above is None:
        return ""
    return f" above {above}" if high is None else f" above {above}, at most {high:.15g}"


def _add_kinds(model: Fragment) -> None:
    """Say which kinds of model take which key: to people in the descriptions, to programs by conditions."""
    for key, kinds in KINDS_OF_KEY.items():
        model["properties"][key]["description"] = f"{', '.join(kinds)}: {model['properties'][key]['description']}"
    model["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": str(kind)}}, "required": ["kind"]},
            "then": {"properties": {key: False for key in model["properties"] if not takes(kind, key)}},
        }
        for kind in Kind
    ]


def _tidy(value: Any) -> Any:
    """Without the titles that pydantic derives from names, and with `ge` as JSON Schema spells it."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    tidy = {key: _tidy(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))}
    if "ge" in tidy:
        tidy["minimum"] = tidy.pop("ge")
    if "patternProperties" in tidy:  # names of models and tenants
        pattern, entry = next(iter(tidy.pop("patternProperties").items()))
        tidy["propertyNames"] = {"pattern": pattern, "maxLength": 128}
        tidy["additionalProperties"] = entry
    return tidy
