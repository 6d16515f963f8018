"""`aquahost plan`, from configs alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli_harness import run_cli

CONFIGS = Path(__file__).parents[2] / "examples" / "configs"
MODELS = """
models:
  chat: {{kind: llm, source: {configs}/Llama-3.1-8B, dtype: bfloat16, traffic: {{rate_per_s: 2.0}}}}
  wide: {{kind: llm, source: {configs}/Llama-3.1-70B, dtype: bfloat16, tensor_parallel: 2}}
  toy: {{kind: toy}}
"""


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is worked out once is kept for all tests."""
    return tmp_path_factory.mktemp("profiles")


@pytest.fixture
def file(tmp_path: Path, profiles: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AQUAHOST_PROFILE_DIR", str(profiles))
    path = tmp_path / "models.yaml"
    path.write_text(MODELS.format(configs=CONFIGS))
    return path


def test_a_plan_for_gpus_that_one_does_not_have(file: Path) -> None:
    result = run_cli("plan", str(file), "--gpus", "4xH100")
    assert result.exit_code == 0, result.stderr
    head, *rows = result.stdout.splitlines()
    assert head.split()[:6] == ["GPU", "MODELS", "WEIGHTS", "WORK", "KV", "LENDS"]
    assert sorted(row.split()[1] for row in rows[:4]) == ["-", "chat", "wide", "wide"]
    assert any(line.startswith("wide is on GPUs ") for line in rows)
    assert rows[4].startswith("WORK: activations; SPARE: ")
    assert rows[-2].startswith("4xH100, ")
    assert "unmet demand 0 B (the least there can be)" in rows[-1]


def test_several_servers_as_json(file: Path) -> None:
    result = run_cli("plan", str(file), "--gpus", "2xH100", "--servers", "2", "-o", "json")
    assert result.exit_code == 0, result.stderr
    plan = json.loads(result.stdout)
    assert {model["name"]: model["server"] for model in plan["models"]}["chat"] in (0, 1)
    assert len({model["server"] for model in plan["models"]}) == 2
    assert plan["aqua"]["ours_bytes"] <= plan["aqua"]["aqua_bytes"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpus", "8xH1000"], "no data sheet of a GPU 'H1000'; did you mean H100"),
        (["--gpus", "1xH100"], "models.wide.tensor_parallel: 2 GPUs of one server; a server has 1"),
        (["--gpus", "2xA100-40GB"], "models.wide: needs "),
    ],
)
def test_what_cannot_be_planned_ends_with_2(file: Path, words: list[str], said: str) -> None:
    result = run_cli("plan", str(file), *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_without_cuda_one_says_which_gpus_are_planned_for(file: Path) -> None:
    file.write_text(f"host: {{driver: cuda}}\nmodels: {{chat: {{kind: llm, source: {CONFIGS}/Llama-3.1-8B}}}}\n")
    result = run_cli("plan", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "say which GPUs are to be planned for, like --gpus 8xH100" in " ".join(result.stderr.split())


def test_this_machine_is_planned_for_with_what_was_measured_on_it(file: Path) -> None:
    file.write_text(
        f"host: {{driver: emulated, emulated: {{gpus: 2, gpu_bytes: 4GiB}}}}\n"
        f"models: {{chat: {{kind: llm, source: {CONFIGS}/Llama-3.1-8B}}}}\n"
    )
    result = run_cli("plan", str(file))
    assert result.exit_code == 2
    assert "models.chat: there is no profile of it on this machine; measure it: aquahost profile chat" in result.stderr
