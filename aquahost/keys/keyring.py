"""Whose a key is: those of models.yaml, and those of the keys' file as it is at this instant."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aquahost.config.names import DEFAULT_TENANT
from aquahost.config.settings import Settings
from aquahost.errors import ConfigError
from aquahost.keys.key_file import KeyFile, Stamp
from aquahost.keys.last_used import LastUsed
from aquahost.keys.record import KeyRecord, digest_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whoever holds a key."""

    tenant: str
    models: frozenset[str] | None = None
    """Those that they may use; None means all."""
    admin: bool = False
    """They may use control routes over TCP, and no model."""
    key_id: str | None = None
    """Of a key that was made by `aquahost keys add`."""

    def may_use(self, model: str) -> bool:
        """Whether a model of this name, if there is one, is theirs to use and to see."""
        return not self.admin and (self.models is None or model in self.models)


class Keyring:
    """Looks up keys. A file that has changed is read again before the next answer, so that a revoked key opens
    nothing more; if it makes no sense then, the keys known before still hold, and the log says so.

    Keys are found by a digest under a random secret of this object: how long that takes tells nobody anything of any
    key, nor of its digest.
    """

    def __init__(self, settings: Settings, file: KeyFile | None = None, used: LastUsed | None = None) -> None:
        """Keys of models.yaml, and of `file`; `used` is told of each use of these. Raises ConfigError if the file makes
        no sense."""
        self._settings, self._file, self._used = settings, file, used
        self._secret = secrets.token_bytes(32)
        self._records: list[KeyRecord] = []
        self._stamp: Stamp | None = None
        self._trouble = ""
        self._holders: dict[bytes, Holder] = {}
        self._weights: dict[str, float] = {}
        self._required = False
        if file is not None:
            with contextlib.suppress(OSError):  # which reading says better
                self._stamp = file.stamp()
            self._records = file.read()
        self._arrange()

    def use(self, settings: Settings) -> None:
        """Take the keys of another models.yaml. Keys of the file stay good where it no longer names their tenant, and
        have its limits no longer; the log says so."""
        gone = self._settings.tenants.keys() - settings.tenants.keys()
        self._settings = settings
        self._arrange()
        for name in sorted(gone & {record.name for record in self._records if record.is_live and not record.admin}):
            logger.warning(
                "models.yaml names the tenant %s no longer, so the keys that `aquahost keys` made for it are without "
                "the limits it had there; to revoke them: aquahost keys revoke %s",
                name,
                name,
            )

    @property
    def required(self) -> bool:
        """Whether users need a key; once there has been one, not counting admins', that stays so."""
        self._refresh()
        return self._required

    @property
    def has_admin(self) -> bool:
        """Whether there is an admin key."""
        self._refresh()
        return any(holder.admin for holder in self._holders.values())

    @property
    def weights(self) -> Mapping[str, float]:
        """Shares by tenant, of all that have a key; the same object always, which follows every change."""
        return self._weights

    def holder(self, key: bytes) -> Holder | None:
        """Whose this key is; None if it is nobody's."""
        self._refresh()
        found = self._holders.get(self._place(digest_of(key)))
        if found is not None and found.key_id is not None and self._used is not None:
            self._used.note(found.key_id)
        return found

    def _refresh(self) -> None:
        if self._file is None:
            return
        known = self._stamp
        try:
            stamp = self._file.stamp()
            if stamp == known:
                return
            self._stamp = stamp  # before the reading: what is written meanwhile is then read by the next one
            self._records = self._file.read()
        except (ConfigError, OSError) as error:
            if isinstance(error, OSError) or isinstance(error.__cause__, OSError):
                self._stamp = known  # it was not read for want of something: the next request tries again
            if str(error) != self._trouble:
                self._trouble = str(error)
                logger.error("%s; the keys known before still hold", error)
            return
        self._trouble = ""
        self._arrange()
        live = sum(record.is_live for record in self._records)
        logger.info("keys read again: %d in use, %d revoked", live, len(self._records) - live)

    def _arrange(self) -> None:
        settings = self._settings
        holders: dict[bytes, Holder] = {}
        weights: dict[str, float] = {}
        if settings.host.admin_key:
            holders[self._place(digest_of(settings.host.admin_key.encode()))] = Holder(tenant="admin", admin=True)
        for record in self._records:
            if record.is_live:
                self._add(record, holders, weights)
        for name, tenant in settings.tenants.items():
            if tenant.key is not None:
                holders[self._place(digest_of(tenant.key.encode()))] = Holder(tenant=name, models=_set(tenant.models))
            weights[name] = tenant.weight
        self._holders = holders
        self._weights.clear()
        self._weights.update(weights)
        self._required |= bool(settings.tenants) or any(not record.admin for record in self._records)

    def _add(self, record: KeyRecord, holders: dict[bytes, Holder], weights: dict[str, float]) -> None:
        place = self._place(bytes.fromhex(record.digest))
        if record.admin:
            holders[place] = Holder(tenant=record.name, admin=True, key_id=record.id)
            return
        if record.name == DEFAULT_TENANT:
            logger.error("the key %s is for %s, which is nobody's name; it opens nothing", record.id, record.name)
            return
        tenant = self._settings.tenants.get(record.name)
        of_tenant = None if tenant is None else _set(tenant.models)
        models = _set(record.models)
        if models is None or of_tenant is None:
            models = of_tenant if models is None else models
        else:
            models &= of_tenant
        holders[place] = Holder(tenant=record.name, models=models, key_id=record.id)
        if record.weight is not None:
            weights[record.name] = record.weight
        else:
            weights.setdefault(record.name, 1.0)

    def _place(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, digest_size=32).digest()


def _set(models: Iterable[str] | None) -> frozenset[str] | None:
    return None if models is None else frozenset(models)
