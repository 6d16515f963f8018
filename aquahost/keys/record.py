"""A key as it is kept: whose it is, what it opens, and a digest from which nobody gets it back."""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated

import msgspec

from aquahost.config.names import LONGEST_NAME, NAME_PATTERN

PREFIX = "aqh_"
"""What every key that we make begins with, so that scanners find one that was published by mistake."""
_RANDOM_BYTES = 32
_ID_BYTES = 4

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, max_length=LONGEST_NAME)]
Weight = Annotated[float, msgspec.Meta(gt=0, le=1e6)]


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key. Several of one name are one tenant's."""

    id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{8}\Z")]
    """Part of the key itself, so that whoever finds a key knows which one to revoke."""
    name: Name
    """The tenant; of an admin key, whatever tells it from others."""
    digest: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    """`digest_of` the key, in hexadecimal."""
    created_at: str
    """RFC 3339 in UTC, as all times here."""
    admin: bool = False
    """It opens control routes over TCP, and nothing else."""
    weight: Weight | None = None
    """The tenant's share; None leaves that to its other keys and to models.yaml."""
    models: tuple[Name, ...] | None = None
    """Those that it may use; None means all."""
    revoked_at: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether it opens anything still."""
        return self.revoked_at is None


def new_id() -> str:
    """An id for a key; random, so not surely a new one."""
    return secrets.token_hex(_ID_BYTES)


def new_key(key_id: str) -> str:
    """A key with this id, and 256 random bits of which nothing is kept."""
    return f"{PREFIX}{key_id}_{secrets.token_urlsafe(_RANDOM_BYTES)}"


def digest_of(key: bytes) -> bytes:
    """SHA-256 of a key.

    Slow, salted hashes (scrypt, argon2) protect passwords, which people choose and others guess. Nobody guesses 256
    random bits, however fast a guess is, and no two keys are equal; all that slowness would do is to cost every request
    tenths of a second.
    """
    return hashlib.sha256(key).digest()
