"""`aquahost profile` as users run it: a model is measured in a process of its own, and schedulers begin with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli_process import CliProcess

TORCH_FREE = """
import json, sys
from pathlib import Path
from aquahost.config.loader import load_settings
from aquahost.profiler.gpu_names import EMULATED
from aquahost.profiler.known_steps import known_steps
found = known_steps(load_settings(Path(sys.argv[1])), EMULATED)
print(json.dumps([found, sorted({"torch", "transformers", "scipy", "numpy"} & set(sys.modules))]))
"""


@pytest.fixture
def cli(tmp_path: Path) -> CliProcess:
    return CliProcess(tmp_path)


def test_a_model_is_measured_kept_and_listed(cli: CliProcess) -> None:
    path = cli.models("  sing: {kind: audio, source: 'demo:sing', max_duration_s: 0.5}\n")
    done = cli.run("profile", "sing", "--models", path, "-o", "json", AQUAHOST_HOST__CPU_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert "measuring sing" in done.stderr
    made = json.loads(done.stdout)
    assert made["measured"]
    assert (made["source"], made["gpu"], made["dtype"]) == ("demo:sing", "emulated", "float32")
    assert [size["size"] for size in made["costs"]["sizes"]] == [0.25, 0.5]
    assert json.loads(cli.run("profile", "--list", "-o", "json").stdout) == [made]


def test_a_language_model_s_profile_is_what_its_scheduler_begins_with(cli: CliProcess) -> None:
    path = cli.models("  chat: {kind: llm, source: 'demo:chat', max_context: 64}\n")
    text = Path(path).read_text()
    Path(path).write_text(f"{text}scheduler: {{step_tokens: 16, max_batch: 2}}\n")
    done = cli.run("profile", "chat", "--models", path, AQUAHOST_HOST__CPU_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert "error of the fit" in done.stdout
    line = [sys.executable, "-c", TORCH_FREE, path]
    known = subprocess.run(line, env=cli.env, capture_output=True, text=True, check=True)
    found, heavy = json.loads(known.stdout)
    assert heavy == []
    step_s, token_s, prefill_s = found["chat"]
    assert step_s == pytest.approx(2 * token_s)
    assert 0 < prefill_s < step_s


def test_a_model_that_cannot_be_loaded_is_refused_with_its_reason(cli: CliProcess, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "t5"}')
    (tmp_path / "odd" / "model.safetensors").write_bytes(b"")
    done = cli.run("profile", "odd", "--models", cli.models("  odd: {kind: llm, source: ./odd}\n"))
    assert done.returncode == 2
    assert "odd: a model of type t5 cannot be served" in done.stderr
