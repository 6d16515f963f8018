"""Which driver `load` takes, and that it remembers why."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aquahost_cuda.driver import (
    DriverUnavailableError,
    EmulatedDriver,
    EmulatedNode,
    driver_name,
    load,
    why_not_cuda,
)
from aquahost_cuda.emulated.types import CUresult
from driver_fixtures import small_node

OK = CUresult.CUDA_SUCCESS
Pretend = Callable[..., SimpleNamespace]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Put a stand-in for cuda.bindings.driver in its place."""
    package = importlib.import_module("cuda.bindings")

    def replace(init: Any = (OK,), count: Any = (OK, 1)) -> SimpleNamespace:
        def cuInit(Flags: int) -> Any:
            if isinstance(init, Exception):
                raise init
            return init

        fake = SimpleNamespace(cuInit=cuInit, cuDeviceGetCount=lambda: count)
        monkeypatch.setattr(package, "driver", fake, raising=False)
        return fake

    return replace


def close(driver: Any) -> None:
    assert isinstance(driver, EmulatedDriver)
    driver.close()


@pytest.mark.parametrize("choice", ["auto", "cuda"])
def test_cuda_is_taken_where_it_finds_a_gpu(pretend: Pretend, tmp_path: Path, choice: Any) -> None:
    real = pretend()
    driver = load(choice, small_node(tmp_path))
    assert driver is real
    assert driver_name(driver) == "cuda"
    assert why_not_cuda(driver) is None


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"init": RuntimeError("libcuda.so.1\n  is missing")}, "libcuda.so.1 is missing"),
        ({"init": (CUresult.CUDA_ERROR_SYSTEM_NOT_READY,)}, "the driver answers CUDA_ERROR_SYSTEM_NOT_READY"),
        ({"count": (CUresult.CUDA_ERROR_NO_DEVICE, None)}, "the driver answers CUDA_ERROR_NO_DEVICE"),
        ({"count": (OK, 0)}, "the driver finds no GPU"),
    ],
)
def test_auto_falls_to_the_emulated_driver_and_says_why(
    pretend: Pretend, tmp_path: Path, broken: dict[str, Any], reason: str
) -> None:
    pretend(**broken)
    driver = load("auto", small_node(tmp_path))
    assert driver_name(driver) == "emulated"
    assert why_not_cuda(driver) == reason
    close(driver)
    with pytest.raises(DriverUnavailableError, match=reason):
        load("cuda", small_node(tmp_path))
    with pytest.raises(DriverUnavailableError, match=f"needs a node .*{reason}"):
        load("auto")


def test_a_missing_package_is_a_reason_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    driver = load("auto", small_node(tmp_path))
    assert "cuda-bindings" in str(why_not_cuda(driver))
    close(driver)


def test_the_emulated_driver_can_be_asked_for(pretend: Pretend, tmp_path: Path) -> None:
    pretend()
    driver = load("emulated", small_node(tmp_path))
    assert driver_name(driver) == "emulated"
    assert why_not_cuda(driver) is None
    assert driver.cuDeviceGetCount() == (OK, 4)
    close(driver)
    with pytest.raises(DriverUnavailableError, match="needs a node"):
        load("emulated")


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": ""},
        {"gpus": 0},
        {"gpus": 65},
        {"gpu_bytes": -1},
        {"peer_bytes_per_s": 0.0},
        {"host_bytes_per_s": -1.0},
        {"host_latency_s": -1e-6},
    ],
)
def test_a_node_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"path|gpus|gpu_bytes|link"):
        EmulatedNode(**({"path": "/somewhere"} | wrong))
