"""How calls of the emulated driver answer: a tuple that begins with a result code."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from aquahost_cuda.emulated.types import CUresult

P = ParamSpec("P")
T = TypeVar("T")


class Refused(Exception):  # noqa: N818
    """A call that must answer with `code`; never leaves this package."""

    def __init__(self, code: CUresult) -> None:
        super().__init__(code.name)
        self.code = code


def require(condition: bool, code: CUresult = CUresult.CUDA_ERROR_INVALID_VALUE) -> None:
    """Refuse with `code` unless `condition` holds."""
    if not condition:
        raise Refused(code)


def _code(error: Refused | OSError) -> CUresult:
    return error.code if isinstance(error, Refused) else CUresult.CUDA_ERROR_OPERATING_SYSTEM


def answers_nothing(function: Callable[P, None]) -> Callable[P, tuple[CUresult]]:
    """Make `function` answer (code,)."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> tuple[CUresult]:
        try:
            function(*args, **kwargs)
        except (Refused, OSError) as error:
            return (_code(error),)
        return (CUresult.CUDA_SUCCESS,)

    return call


def answers_value(function: Callable[P, T]) -> Callable[P, tuple[CUresult, Any]]:
    """Make `function` answer (code, value); the value is None where the code is an error."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> tuple[CUresult, Any]:
        try:
            return (CUresult.CUDA_SUCCESS, function(*args, **kwargs))
        except (Refused, OSError) as error:
            return (_code(error), None)

    return call


def answers_pair(function: Callable[P, tuple[int, int]]) -> Callable[P, tuple[CUresult, Any, Any]]:
    """Make `function` answer (code, first, second); both are None where the code is an error."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> tuple[CUresult, Any, Any]:
        try:
            return (CUresult.CUDA_SUCCESS, *function(*args, **kwargs))
        except (Refused, OSError) as error:
            return (_code(error), None, None)

    return call
