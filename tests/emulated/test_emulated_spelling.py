"""The emulated driver is spelled as NVIDIA's: functions, parameters, enums, structs."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from aquahost_cuda.driver import Driver, EmulatedDriver
from aquahost_cuda.emulated import types
from driver_fixtures import emulated

bindings: Any = importlib.import_module("cuda.bindings.driver")
FUNCTIONS = sorted(name for name in dir(EmulatedDriver) if name.startswith("cu"))
NAMES = sorted(name for name in dir(EmulatedDriver) if name.startswith("CU"))
ENUMS = [name for name in NAMES if issubclass(getattr(types, name), IntEnum)]
STRUCTS = ["CUmemLocation", "CUmemAllocationProp", "CUmemAccessDesc", "CUmemcpyAttributes", "CUuuid"]
HANDLES = sorted(set(NAMES) - set(ENUMS) - set(STRUCTS))


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path) as driver:
        yield driver


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_real_ones_parameters(driver: EmulatedDriver, name: str) -> None:
    real = list(inspect.signature(getattr(bindings, name)).parameters)
    assert list(inspect.signature(getattr(driver, name)).parameters) == real


def test_the_protocol_is_what_the_emulated_driver_offers() -> None:
    promised = {name for name in (*vars(Driver), *Driver.__annotations__) if name.lower().startswith("cu")}
    assert promised == {*FUNCTIONS, *NAMES}
    for name in FUNCTIONS:
        emulated_parameters = list(inspect.signature(getattr(EmulatedDriver, name)).parameters)
        assert list(inspect.signature(getattr(Driver, name)).parameters) == emulated_parameters


@pytest.mark.parametrize("name", ENUMS)
def test_enums_have_the_real_ones_members(name: str) -> None:
    real = {member.name: member.value for member in getattr(bindings, name)}
    ours = {member.name: member.value for member in getattr(types, name)}
    assert ours.items() <= real.items()


@pytest.mark.parametrize("name", STRUCTS)
def test_structs_have_the_real_ones_fields(name: str) -> None:
    real, ours = getattr(bindings, name)(), getattr(types, name)()
    for field in type(ours).__slots__:
        assert type(getattr(ours, field)).__name__ == type(getattr(real, field)).__name__, field
    with pytest.raises(AttributeError):
        ours.no_such_field = 1


@pytest.mark.parametrize("name", HANDLES)
def test_handles_are_read_by_int_alone(name: str) -> None:
    for kind in (getattr(bindings, name), getattr(types, name)):
        handle = kind(5)
        assert int(handle) == 5
        assert handle != 5
        assert int(kind()) == 0


def test_answers_are_tuples_that_begin_with_the_code(driver: EmulatedDriver) -> None:
    code = driver.CUresult
    assert driver.cuCtxSetCurrent(0) == (code.CUDA_SUCCESS,)
    assert driver.cuDeviceGetCount() == (code.CUDA_SUCCESS, 4)
    assert driver.cuDeviceGet(99) == (code.CUDA_ERROR_INVALID_DEVICE, None)
    assert driver.cuMemGetInfo() == (code.CUDA_ERROR_INVALID_CONTEXT, None, None)


def test_a_name_comes_in_a_buffer_as_long_as_asked(driver: EmulatedDriver) -> None:
    assert driver.cuDeviceGetName(16, 0)[1] == b"Emulated GPU\0   "
    assert driver.cuDeviceGetName(5, 0)[1] == b"Emul\0"
