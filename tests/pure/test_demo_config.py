"""The packaged demo configuration is valid."""

from __future__ import annotations

from pathlib import Path

import yaml

import aquahost.demo
from aquahost.config.settings import Kind, Settings


def test_the_demo_configuration_is_valid_and_hosts_three_models_on_gpus_of_their_own() -> None:
    file = Path(aquahost.demo.__file__).parent / "models.yaml"
    settings = Settings.model_validate(yaml.safe_load(file.read_text("utf-8")))
    assert settings.host.driver == "emulated"
    assert settings.host.emulated.gpus == 8
    assert {name: (model.kind, model.source, model.gpu) for name, model in settings.models.items()} == {
        "chat": (Kind.LLM, "demo:chat", 0),
        "paint": (Kind.IMAGE, "demo:paint", 1),
        "sing": (Kind.AUDIO, "demo:sing", 2),
    }
