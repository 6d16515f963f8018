"""`cuda/` and `tui/` are folders of ours, not packages: a cuda/__init__.py would hide NVIDIA's `cuda` from everyone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(script: str, *paths: Path) -> str:
    """What a fresh interpreter prints, with these folders first on its path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, env=environment, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("folder", ["cuda", "tui"])
def test_our_folders_are_no_packages(folder: str) -> None:
    assert (ROOT / folder).is_dir()
    assert not list((ROOT / folder).glob("*.py"))


@pytest.mark.parametrize("paths", [(ROOT,), (ROOT / "cuda",), (ROOT, ROOT / "cuda", ROOT / "tui")], ids=len)
def test_nvidias_package_is_found_with_ours_on_the_path(paths: tuple[Path, ...]) -> None:
    where = run("import cuda.bindings, sys; sys.stdout.write(cuda.bindings.__file__)", *paths)
    assert not Path(where).is_relative_to(ROOT / "cuda")


def test_the_device_layer_imports_neither_torch_nor_cuda() -> None:
    script = (
        "import pkgutil, sys, importlib, aquahost_cuda\n"
        "for module in pkgutil.walk_packages(aquahost_cuda.__path__, 'aquahost_cuda.'):\n"
        "    importlib.import_module(module.name)\n"
        "heavy = {'torch', 'numpy', 'cuda', 'aquahost', 'transformers', 'diffusers'}\n"
        "found = {name.split('.')[0] for name in sys.modules}\n"
        "assert 'aquahost_cuda.emulated.memory_calls' in sys.modules\n"
        "sys.stdout.write(' '.join(sorted(found & heavy)))\n"
    )
    assert run(script, ROOT / "cuda") == ""


def test_the_emulated_driver_runs_without_torch_or_cuda(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from aquahost_cuda.driver import EmulatedNode, load\n"
        "from aquahost_cuda.device import read_gpus\n"
        f"driver = load('emulated', EmulatedNode(path={str(tmp_path)!r}, gpus=3))\n"
        "assert not {'torch', 'cuda', 'numpy'} & set(sys.modules)\n"
        "sys.stdout.write(str(len(read_gpus(driver))))\n"
    )
    assert run(script, ROOT / "cuda") == "3"
