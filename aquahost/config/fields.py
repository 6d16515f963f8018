"""Types of the values in models.yaml: sizes, times, addresses, names."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict

from aquahost.config.names import LONGEST_NAME, NAME_PATTERN
from aquahost.units import parse_bytes, parse_seconds


def _bytes(value: object) -> int:
    if not isinstance(value, str | int):
        raise ValueError(f"{value!r} is no size; write a whole number of bytes, or text like 80GiB or 512MiB")
    try:
        size_bytes = parse_bytes(value)
    except OverflowError:
        size_bytes = _MAX_BYTES + 1
    if size_bytes > _MAX_BYTES:
        raise ValueError(f"{value!r} is more than any machine holds")
    return size_bytes


def _seconds(value: object) -> float:
    if not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is no length of time; write seconds, or text like 30s, 500ms or 5m")
    return parse_seconds(value)


def _host(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not _HOST_NAME.fullmatch(value):
            raise ValueError(f"{value!r} is neither an IP address nor a host name") from None
    return value


_MAX_BYTES = 1 << 60
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}")
"""As of RFC 1123; a last label of digits alone would make it a mistyped address."""
_SIZES: JsonDict = {"type": ["integer", "string"], "examples": ["80GiB", "512MiB", 1048576]}
_HOSTS: JsonDict = {"anyOf": [{"type": "string", "format": kind} for kind in ("ipv4", "ipv6", "hostname")]}
_TIMES: JsonDict = {"type": ["number", "string"], "examples": ["30s", "5m", 2.5]}

Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=0, json_schema_extra=_SIZES)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, json_schema_extra=_TIMES)]
Host = Annotated[str, AfterValidator(_host), Field(json_schema_extra=_HOSTS)]
Rate = Annotated[float, Field(gt=0, description="bytes per second")]

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME)]


class Frozen(BaseModel):
    """A section: cannot be changed, and refuses keys that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )
