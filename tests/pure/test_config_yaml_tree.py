"""YAML as plain values with lines; hostile and broken files end in one clear line."""

from __future__ import annotations

import math

import pytest

from aquahost.config.yaml_tree import parse_yaml
from aquahost.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8712", 8712),
        ("-3", -3),
        ("1_000", 1000),
        ("0x10", 16),
        ("010", 10),
        ("1.5", 1.5),
        ("9e9", 9e9),
        ("9.0e9", 9e9),
        ("1e-05", 1e-5),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("yes", "yes"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("80GiB", "80GiB"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        (".", "."),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("9" * 50, "9" * 50),
    ],
)
def test_scalars_are_read_as_yaml_1_2_reads_them(text: str, value: object) -> None:
    assert parse_yaml(f"key: {text}", "f").value == {"key": value}


def test_keys_are_text_and_remember_their_lines() -> None:
    tree = parse_yaml("on: 1\n\n7:\n  - a\n  - b: 2\n", "f")
    assert tree.value == {"on": 1, "7": ["a", {"b": 2}]}
    assert tree.lines == {("on",): 1, ("7",): 3, ("7", "0"): 4, ("7", "1"): 5, ("7", "1", "b"): 5}


def test_merge_keys_yield_to_own_keys_wherever_they_stand() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  z: 3\n  <<: [*a, *b]\n"
    tree = parse_yaml(text, "f")
    assert isinstance(tree.value, dict)
    assert tree.value["c"] == {"x": 1, "y": 1, "z": 3}
    assert [tree.lines[("c", key)] for key in "xyz"] == [1, 1, 4]


def test_a_byte_order_mark_and_empty_files_are_fine() -> None:
    assert parse_yaml("\ufeffa: 1", "f").value == {"a": 1}
    assert parse_yaml("", "f").value is None
    assert parse_yaml("# nothing\n", "f").value is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1,\n", "f:3:1: not valid YAML: "),
        ("a: b: c", "f:1:5: not valid YAML: mapping values are not allowed here"),
        ("a:\n\tb: 1\n", "f:2:1: a tab; YAML indents with spaces alone"),
        ("a: *gone", "f:1:4: not valid YAML: found undefined alias 'gone'"),
        ("a: 1\n---\nb: 2", "f:2:1: not valid YAML: but found another document"),
        ("a: 1\nb: \x00", "f:2: the character U+0000 is not allowed"),
        ("[" * 5000, "f: is nested too deeply"),
        ("{a: " * 60 + "1" + "}" * 60, "f:1: is nested too deeply"),
        ("#" * (1 << 20) + "\n", "f: is larger than 1 MiB"),
    ],
)
def test_what_is_no_yaml_says_where(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f")
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3: a: given twice; first on line 1"),
        ("a: !!python/object/apply:os.system [ls]", "f:1: a: the tag !!python/object/apply:os.system is not allowed"),
        ("a: !mine 1", "f:1: a: the tag !mine is not allowed"),
        ("? [1, 2]\n: 3", "f:1: a key must be text"),
        ("a: &a [*a]", "f:1: a.0: an anchor cannot contain an alias of itself"),
        ("<<: 3", "f:1: << needs a mapping, or a list of mappings"),
        (r'a: "\ud800"', "f:1: a: half a surrogate pair is no character"),
    ],
)
def test_what_is_yaml_but_not_ours_is_a_mistake(text: str, mistake: str) -> None:
    assert [str(found) for found in parse_yaml(text, "f").mistakes] == [mistake]


def test_a_bomb_of_aliases_is_harmless() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    with pytest.raises(ConfigError, match="aliases expand to more than 100,000 values"):
        parse_yaml("\n".join(lines), "f")
