"""Client commands stay light: what they must not import, seen in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FORBIDDEN = {
    "torch", "transformers", "diffusers", "accelerate", "safetensors", "numpy", "scipy", "PIL", "soundfile", "cuda",
    "huggingface_hub", "fastapi", "starlette", "uvicorn", "uvloop", "zmq", "textual", "jinja2", "asyncio",
    "aquahost_cuda", "aquahost.serve", "aquahost.daemon", "aquahost.api", "aquahost.worker", "aquahost.engines",
    "aquahost.config.settings", "aquahost.config.loader", "rich.progress",
}  # fmt: skip
ANSWERED_BY_HTTPX = {"rich.progress"}
"""httpx imports its own command line, and that rich."""
PROBE = """
import json, sys
from aquahost.cli.main import main
sys.argv = ["aquahost", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as end:
    code = end.code
sys.stdout.flush()
json.dump([code, sorted(sys.modules)], sys.stderr)
"""
COMMANDS = (
    ["--help"],
    ["--version"],
    ["ps"],
    ["status"],
    ["gpus"],
    ["leases"],
    ["queue"],
    ["events"],
    ["logs"],
    ["load", "chat"],
    ["unload", "chat"],
    ["park", "chat"],
    ["cancel", "p1"],
    ["run", "chat", "Hi"],
    ["submit", "chat", "Hi"],
    ["jobs"],
    ["wait", "job_1"],
    ["result", "job_1"],
    ["down"],
    ["ps", "--help"],
    ["run", "--help"],
    ["top", "--help"],
    ["tui", "--help"],
    ["simulate", "--help"],
    ["chaos", "--help"],
)


def modules_after(words: list[str]) -> tuple[int, set[str]]:
    env = {"AQUAHOST_RUNTIME_DIR": "/nonexistent", "AQUAHOST_STATE_DIR": "/nonexistent", "PATH": "/usr/bin:/bin"}
    line = [sys.executable, "-c", PROBE, json.dumps(words)]
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=60, check=True)
    code, modules = json.loads(done.stderr.splitlines()[-1][done.stderr.splitlines()[-1].index("[") :])
    return code, set(modules)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_client_command_imports_nothing_heavy(words: list[str]) -> None:
    code, modules = modules_after(words)
    assert code == (0 if words[-1].startswith("--") else 3)
    allowed = ANSWERED_BY_HTTPX if "httpx" in modules else set()
    assert not modules & (FORBIDDEN - allowed)


def test_the_doctor_leaves_the_driver_and_torch_to_others() -> None:
    """It reads models.yaml itself, asks a process of its own for the hardware, and metadata for versions."""
    code, modules = modules_after(["doctor"])
    assert code in (0, 1)
    assert not modules & (FORBIDDEN - {"aquahost.config.settings", "aquahost.config.loader", *ANSWERED_BY_HTTPX})
    assert "aquahost.cli.doctor.shown" in modules


def test_keys_are_made_and_listed_without_daemon_and_settings() -> None:
    code, modules = modules_after(["keys", "list", "-q"])
    assert code == 0
    assert "aquahost.keys.key_file" in modules
    assert not modules & (FORBIDDEN | {"httpx"})


def test_help_imports_no_command_and_no_client() -> None:
    _, modules = modules_after(["--help"])
    light = {"main", "lazy", "exits", "output", "surroundings"}
    assert {name for name in modules if name.startswith("aquahost.cli.")} == {f"aquahost.cli.{name}" for name in light}
    assert not modules & {"httpx", "aquahost.client", "yaml"}


def test_the_terminal_ui_imports_nothing_of_models_nor_of_the_daemon() -> None:
    probe = "import sys, aquahost_tui.run, aquahost_tui.frame; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    modules = set(done.stdout.split())
    assert "textual" in modules
    assert not modules & (FORBIDDEN - {"textual", "asyncio", *ANSWERED_BY_HTTPX})


@pytest.mark.parametrize("module", ["aquahost", "aquahost.client", "aquahost.cli.main", "aquahost.messages.snapshot"])
def test_what_clients_import_brings_no_pydantic(module: str) -> None:
    """Typer may import it to parse a command line; we do not."""
    probe = f"import sys, {module}; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
