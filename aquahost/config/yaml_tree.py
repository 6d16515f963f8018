"""YAML text as plain values that remember their lines.

Reads YAML as editors check it (1.2: `yes`, `on`, `1:30` and dates are text), with anchors, aliases and merge keys.
Nothing in a file can run code, exhaust memory or recurse without end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

from aquahost.config.mistakes import KeyPath, Mistake, Place
from aquahost.errors import ConfigError

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

_MAX_CHARACTERS = 1 << 20
_MAX_VALUES = 100_000
_MAX_DEPTH = 50
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_STANDARD = "tag:yaml.org,2002:"
_MERGE = f"{_STANDARD}merge"
_PLAIN = "plain"
_PARSED = {_PLAIN, *(f"{_STANDARD}{name}" for name in ("null", "bool", "int", "float"))}


@dataclass(slots=True, kw_only=True)
class Tree:
    """What a file says, and the line of each of its keys."""

    value: Value
    lines: dict[KeyPath, int]
    """From 1; of the key, or of an item in a list."""
    mistakes: list[Mistake] = field(default_factory=list)
    """What stands in the way of reading it fully: duplicate keys, foreign tags."""


def parse_yaml(text: str, source: str) -> Tree:
    """Read one YAML document. Raises ConfigError (line and column) where it is no YAML, or is abusively large."""
    if len(text) > _MAX_CHARACTERS:
        raise ConfigError(f"{source}: is larger than {_MAX_CHARACTERS >> 20} MiB; is it a models.yaml?")
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise ConfigError(f"{source}:{line}: the character U+{_code(error.character):04X} is not allowed") from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax_message(error, source)) from error
    except RecursionError as error:
        raise ConfigError(f"{source}: is nested too deeply") from error
    if root is None:
        return Tree(value=None, lines={})
    return _Conversion(source).run(root)


def parse_scalar(text: str) -> Value:
    """A plain YAML scalar such as 8712, true or auto, as it would be read from a file."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return _integer(text)
    if any(character.isdigit() for character in text) or "." in text:
        return _float(text)
    return text


def _integer(text: str) -> Value:
    digits = text.replace("_", "")
    if len(digits) > 40:
        return text
    return int(digits, 0) if digits[:2] in ("0x", "0o") else int(digits)


def _float(text: str) -> Value:
    if not _FLOAT.fullmatch(text):
        return text
    digits = text.replace("_", "").lower()
    try:
        return float(digits.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text


def _code(character: str | bytes | int) -> int:
    return character if isinstance(character, int) else ord(character)


def _syntax_message(error: yaml.MarkedYAMLError, source: str) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
    problem = error.problem or "no reason known"
    if "'\\t'" in problem:
        return f"{place}: a tab; YAML indents with spaces alone"
    begun = f" (begun on line {error.context_mark.line + 1})" if error.context_mark else ""
    context = f" {error.context}{begun}" if error.context else ""
    return f"{place}: not valid YAML: {problem}{context}"


class _Loader(yaml.SafeLoader):
    """Leaves plain scalars to `parse_scalar`; never constructs anything."""

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _MERGE if value == "<<" else _PLAIN
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]


class _Conversion:
    """Turns one composed document into a Tree."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._tree = Tree(value=None, lines={})
        self._values = 0
        self._open: set[int] = set()

    def run(self, root: yaml.Node) -> Tree:
        self._tree.value = self._convert(root, ())
        return self._tree

    def _convert(self, node: yaml.Node, path: KeyPath) -> Value:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise ConfigError(f"{self._source}: its aliases expand to more than {_MAX_VALUES:,} values")
        if len(path) > _MAX_DEPTH:
            raise ConfigError(f"{self._place(node)}: is nested too deeply")
        if id(node) in self._open:
            self._mistake(node, path, "an anchor cannot contain an alias of itself")
            return None
        self._open.add(id(node))
        try:
            return self._convert_new(node, path)
        finally:
            self._open.discard(id(node))

    def _convert_new(self, node: yaml.Node, path: KeyPath) -> Value:
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_STANDARD}map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_STANDARD}seq":
            return [self._item(item, (*path, str(number))) for number, item in enumerate(node.value)]
        if node.tag == f"{_STANDARD}str":
            return self._text(node, path)
        if node.tag in _PARSED:
            return parse_scalar(str(node.value))
        self._mistake(node, path, f"the tag {node.tag.replace(_STANDARD, '!!')} is not allowed")
        return None

    def _text(self, node: yaml.Node, path: KeyPath) -> str:
        text = str(node.value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._mistake(node, path, "half a surrogate pair is no character")
            return ""
        return text

    def _item(self, node: yaml.Node, path: KeyPath) -> Value:
        self._tree.lines[path] = node.start_mark.line + 1
        return self._convert(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Value]:
        merges = [value for key, value in node.value if key.tag == _MERGE]
        mapping = self._merged(merges, path)
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._mistake(key_node, path, "a key must be text")
                continue
            key = self._text(key_node, path)
            if key in first:
                self._mistake(key_node, (*path, key), f"given twice; first on line {first[key]}")
                continue
            first[key] = key_node.start_mark.line + 1
            self._tree.lines[(*path, key)] = first[key]
            mapping[key] = self._convert(value_node, (*path, key))
        return mapping

    def _merged(self, nodes: list[yaml.Node], path: KeyPath) -> dict[str, Value]:
        """What merge keys bring in; earlier sources win, so the last is converted first."""
        sources: list[yaml.Node] = []
        for node in nodes:
            sources += node.value if isinstance(node, yaml.SequenceNode) else [node]
        mapping: dict[str, Value] = {}
        for source in reversed(sources):
            value = self._convert(source, path) if isinstance(source, yaml.MappingNode) else None
            if isinstance(value, dict):
                mapping |= value
            else:
                self._mistake(source, path, "<< needs a mapping, or a list of mappings")
        return mapping

    def _place(self, node: yaml.Node) -> Place:
        return Place(source=self._source, line=node.start_mark.line + 1)

    def _mistake(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self._tree.mistakes.append(Mistake(place=self._place(node), path=path, message=message))
