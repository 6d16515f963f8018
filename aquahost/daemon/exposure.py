"""What must hold before others may reach the API."""

from __future__ import annotations

import ipaddress

from aquahost.errors import StartError


def refuse_strangers(listen: str, *, keyed: bool) -> None:
    """Raises StartError where others than this machine's own users could use every model: `listen` is not loopback, and
    nobody is asked for a key (not `keyed`)."""
    if keyed or is_loopback(listen):
        return
    raise StartError(
        f"host.listen is {listen}, and whoever reaches that could use every model, since there are no keys; make one "
        "with `aquahost keys add NAME`, or name tenants in models.yaml, or listen on 127.0.0.1"
    )


def is_loopback(listen: str) -> bool:
    """Whether this machine alone reaches it. A name other than localhost may lead anywhere."""
    try:
        return ipaddress.ip_address(listen).is_loopback
    except ValueError:
        return listen.lower() == "localhost"
