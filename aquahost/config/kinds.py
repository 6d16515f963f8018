"""Which kinds of model take which keys of a model's entry."""

from __future__ import annotations

from collections.abc import Mapping

from aquahost.config.settings import Kind

_TEXT = (Kind.LLM, Kind.TOY)
_WEIGHTS = (Kind.LLM, Kind.IMAGE, Kind.AUDIO)
_STEPS = (Kind.IMAGE, Kind.AUDIO)

KINDS_OF_KEY: Mapping[str, tuple[Kind, ...]] = {
    "source": _WEIGHTS,
    "revision": _WEIGHTS,
    "dtype": _WEIGHTS,
    "trust_remote_code": _WEIGHTS,
    "max_context": _TEXT,
    "kv_bytes": (Kind.LLM,),
    "block_tokens": (Kind.LLM,),
    "borrow_bytes": (Kind.LLM,),
    "host_kv_bytes": (Kind.LLM,),
    "pin": _WEIGHTS,
    "steps": _STEPS,
    "max_steps": _STEPS,
    "guidance": _STEPS,
    "size_px": (Kind.IMAGE,),
    "max_size_px": (Kind.IMAGE,),
    "max_duration_s": (Kind.AUDIO,),
    "max_concurrent": _STEPS,
    "tensor_parallel": (Kind.LLM,),
    "replicas": _WEIGHTS,
    "traffic": _WEIGHTS,
    "toy": (Kind.TOY,),
}
"""Every kind takes a key that is not listed."""


def takes(kind: Kind, key: str) -> bool:
    """Whether a model of this kind has any use for the key."""
    return kind in KINDS_OF_KEY.get(key, tuple(Kind))
