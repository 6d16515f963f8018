"""Who may ask: users by their key, control routes by the Unix socket or an admin key."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.types import Scope

from aquahost.api.errors import ForbiddenError, UnauthorizedError
from aquahost.config.names import DEFAULT_TENANT
from aquahost.config.settings import Settings
from aquahost.errors import RequestError
from aquahost.keys.keyring import Holder, Keyring

_PROXY_HEADERS = {b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"}
ANYONE = Holder(tenant=DEFAULT_TENANT)
"""Whoever asks where no keys are needed, and the daemon's own user on the Unix socket; may use every model."""


def on_unix_socket(scope: Scope) -> bool:
    """Whether the request came over the daemon's Unix socket.

    ASGI gives a listener on a Unix socket no port. The client's address would not do: uvicorn has none for a TCP
    client that has already reset its connection.
    """
    server = scope.get("server")
    return server is not None and server[1] is None


class Gatekeeper:
    """Tells requests apart by their keys; in `Keyring` that takes the same time however much of a key is right."""

    def __init__(self, settings: Settings, keyring: Keyring | None = None) -> None:
        """Without `keyring` the keys of `settings` alone are known."""
        self._keyring = keyring if keyring is not None else Keyring(settings)
        self._listen = settings.host.listen.lower()

    def holder(self, scope: Scope) -> Holder:
        """Who asks, and what they may use. Raises UnauthorizedError for a missing or wrong key, and for an admin's;
        ForbiddenError for a web page."""
        if not self._keyring.required:
            _refuse_foreign_pages(scope)
            return ANYONE
        key = _bearer_token(scope)
        if key is None:
            if on_unix_socket(scope):
                return ANYONE
            raise UnauthorizedError(
                "the API key is missing; send it as 'Authorization: Bearer KEY'", code="missing_api_key"
            )
        found = self._keyring.holder(key)
        if found is None:
            raise UnauthorizedError("the API key is wrong", code="invalid_api_key")
        if found.admin:
            raise UnauthorizedError("an admin key is no user's key; this route needs one", code="invalid_api_key")
        return found

    def tenant(self, scope: Scope) -> str:
        """The tenant who asks. Raises as `holder` does."""
        return self.holder(scope).tenant

    def refuse_foreign_names(self, scope: Scope) -> None:
        """Raise ForbiddenError for a request by a host name that is not ours, where no key tells who asks.

        A page whose name has been pointed at this daemon (DNS rebinding) is of one origin with it, may read what GET
        answers, and sends no Origin with it; but it cannot but send its own name as Host.
        """
        if on_unix_socket(scope) or self._keyring.required:
            return
        for name, value in scope.get("headers", ()):
            if name == b"host":
                host = _host_name("//" + value.decode("latin-1"))
                if host != self._listen and not _cannot_be_rebound(host):
                    raise ForbiddenError(
                        "without keys this API answers to an IP address, localhost and host.listen only; use one of "
                        "these as the host, or make a key with `aquahost keys add`"
                    )

    def require_watcher(self, scope: Scope) -> None:
        """Pass whoever may read figures of all models: programs on this machine, and others that carry an admin's key
        or one that opens every model.

        On loopback a proxy passes on what comes from elsewhere, and a web page may have pointed its own name here, so
        requests of these two kinds are taken for strangers'.
        """
        if on_unix_socket(scope) or _from_this_machine(scope) or self._is_admin(scope):
            return
        if self.holder(scope).models is not None:
            raise ForbiddenError("this key opens some models only, and these figures are of all")

    def may_watch(self, scope: Scope) -> bool:
        """Whether `require_watcher` passes it."""
        try:
            self.require_watcher(scope)
        except RequestError:
            return False
        return True

    def require_control(self, scope: Scope) -> None:
        """Pass requests on the Unix socket, and others that carry an admin key."""
        if on_unix_socket(scope) or self._is_admin(scope):
            return
        if not self._keyring.has_admin:
            raise ForbiddenError(
                "control routes answer on the daemon's Unix socket only; to open them over TCP set host.admin_key, or "
                "make a key with `aquahost keys add NAME --admin`"
            )
        key = _bearer_token(scope)
        if key is not None and self._keyring.holder(key) is not None:
            raise ForbiddenError("a user's key does not open control routes; over TCP an admin key does")
        raise UnauthorizedError(
            "control routes need an admin key over TCP: 'Authorization: Bearer KEY'", code="invalid_api_key"
        )

    def _is_admin(self, scope: Scope) -> bool:
        key = _bearer_token(scope)
        found = self._keyring.holder(key) if key is not None else None
        return found is not None and found.admin


def _bearer_token(scope: Scope) -> bytes | None:
    value = _header(scope, b"authorization")
    if value is None:
        return None
    scheme, _, token = value.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" and token.strip() else None


def _refuse_foreign_pages(scope: Scope) -> None:
    """Without keys, a web page could reach this daemon by pointing its own host name at it (DNS rebinding).

    Browsers name the page in Origin; other clients send none. A page served from an address or from localhost cannot
    have been rebound, and cross-origin pages are stopped by the browser, since we grant no CORS and take only JSON.
    """
    origin = _header(scope, b"origin")
    if origin is None or on_unix_socket(scope):
        return
    if not _cannot_be_rebound(_host_name(origin.decode("latin-1"))):
        raise ForbiddenError("web pages may not use this API unless there are keys (see `aquahost keys add`)")


def _from_this_machine(scope: Scope) -> bool:
    """Whether a program on this machine asks, by an address or by localhost, for itself."""
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return False
    names = {name for name, _ in scope["headers"]}
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return not names & _PROXY_HEADERS and all(
        _cannot_be_rebound(_host_name("//" + host.decode("latin-1"))) for host in hosts
    )


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _host_name(url: str) -> str:
    """The host of a URL, in lower case; "" if it is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _cannot_be_rebound(host: str) -> bool:
    """Whether no stranger's name server decides where `host` leads: an IP address, or localhost."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None
