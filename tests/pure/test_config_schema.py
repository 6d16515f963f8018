"""The published JSON Schema is current, and says the same as the loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aquahost.config.kinds import KINDS_OF_KEY
from aquahost.config.loader import load, load_settings
from aquahost.config.paths import demo_config_file
from aquahost.config.schema import Schema, json_schema
from aquahost.config.settings import Kind, ModelSettings, Settings
from aquahost.config.shown import MASK, shown_origins, shown_values, shown_yaml
from aquahost.config.yaml_tree import parse_yaml
from aquahost.errors import ConfigError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "models.yaml"
PUBLISHED = ROOT / "docs" / "models.schema.json"


def schema_accepts(value: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(json_schema()).is_valid(value))


def test_the_published_schema_is_current() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(PUBLISHED.read_text()) == json_schema(), "run: aquahost config schema > docs/models.schema.json"


@pytest.mark.parametrize("path", [EXAMPLE, demo_config_file()], ids=["example", "demo"])
def test_shipped_files_pass_schema_and_loader(path: Path) -> None:
    assert schema_accepts(parse_yaml(path.read_text(), "f").value)
    assert load_settings(path, {}).models


def test_the_example_points_editors_at_the_schema_and_shows_every_kind() -> None:
    first = EXAMPLE.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (ROOT / first.partition("=")[2]).resolve() == PUBLISHED
    kinds = {model.kind for model in load_settings(EXAMPLE, {}).models.values()}
    assert kinds == {Kind.LLM, Kind.IMAGE, Kind.AUDIO}


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "host: {port: 0}",
        "host: {prot: 0}",
        "host: {port: '0'}",
        "host: {driver: cuda}",
        "host: {driver: rocm}",
        "host: {max_body_bytes: 8MiB}",
        "host: {max_body_bytes: 1.5}",
        "host: {step_timeout_s: 1.5}",
        "models: {a/b:c: {kind: toy}}",
        "models: {a b: {kind: toy}}",
        "models: {a: {kind: toy, gpu: auto}}",
        "models: {a: {kind: toy, gpu: some}}",
        "models: {a: {source: x}}",
        "tenants: {a: {key: short}}",
        "x-anything: [1, 2]",
        "y-anything: 1",
        "leasing: {}",
        "leasing: {park_after_s: null}",
        "leasing: {park_after_s: 5m, headroom_bytes: 1GiB, enabled: false}",
        "leasing: {enabled: 1}",
        "leasing: {recall_deadline_s: null}",
        "leasing: {recall_deadline: 1s}",
        "host: {partition: 64}",
        "host: {partition: 65}",
        "models: {a: {kind: llm, source: x, borrow_bytes: 0, host_kv_bytes: 1GiB, pin: true}}",
        "models: {a: {kind: image, source: x, pin: true}}",
        "models: {a: {kind: image, source: x, borrow_bytes: 1GiB}}",
        "models: {a: {kind: toy, kv_bytes: null}}",
        "models: {a: {kind: llm, source: x, kv_bytes: null}}",
        "models: {a: {kind: toy, max_context: 9}}",
        "models: {a: {kind: audio, source: x, size_px: 64}}",
        "models: {a: {kind: llm, source: x, toy: {}}}",
        "tenants: {a: {key: long-enough, weight: 1.0}}",
    ],
)
def test_schema_and_loader_agree(text: str, tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text)
    try:
        load(path, {})
        loads = True
    except ConfigError:
        loads = False
    assert schema_accepts(parse_yaml(text, "f").value) is loads


def test_editors_have_something_to_say_of_every_section_and_model_key() -> None:
    schema = Schema()
    keys = [(section,) for section in Settings.model_fields] + [
        ("models", "x", key) for key in schema.keys(("models", "x"))
    ]
    assert len(keys) > 20
    for key in keys:
        assert (schema.fragment(key) or {}).get("description"), key


def test_descriptions_say_which_kinds_take_a_key() -> None:
    schema = Schema()
    assert set(KINDS_OF_KEY) < set(ModelSettings.model_fields)
    for key in ModelSettings.model_fields:
        words = (schema.fragment(("models", "x", key)) or {})["description"].partition(": ")[0]
        assert (words == ", ".join(KINDS_OF_KEY.get(key, ()))) is (key in KINDS_OF_KEY), key


def test_only_keys_of_the_models_kind_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("models: {a: {kind: toy}, b: {kind: image, source: x}, c: {kind: llm, source: x}}\n")
    shown = shown_values(load(path, {}))["models"]
    assert {"toy", "max_context"} < set(shown["a"])
    assert not {"kv_bytes", "steps", "source"} & set(shown["a"])
    assert {"steps", "size_px"} < set(shown["b"])
    assert not {"kv_bytes", "toy", "max_duration_s"} & set(shown["b"])
    assert {"kv_bytes", "borrow_bytes", "host_kv_bytes", "pin", "max_queue"} < set(shown["c"])
    assert "pin" in shown["b"]
    assert not {"pin", "borrow_bytes"} & set(shown["a"])


def test_show_masks_keys(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("host: {admin_key: hunter22}\ntenants: {web: {key: swordfish}}\n")
    loaded = load(path, {})
    for text in (
        shown_yaml(loaded, origins=True),
        shown_yaml(loaded, origins=False),
        json.dumps(shown_origins(loaded)),
    ):
        assert "hunter22" not in text
        assert "swordfish" not in text
        assert MASK in text


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(
        "host: {max_body_bytes: 1MiB}\nleasing: {park_after_s: null}\n"
        "models: {org/a.b: {kind: toy}, b: {kind: audio, source: x}}\n"
    )
    loaded = load(path, {})
    again = tmp_path / "again.yaml"
    again.write_text(shown_yaml(loaded, origins=True))
    assert load_settings(again, {}) == loaded.settings
    line = next(line for line in shown_yaml(loaded, origins=True).splitlines() if "max_body_bytes" in line)
    assert line.endswith(f"# {path}:1")
