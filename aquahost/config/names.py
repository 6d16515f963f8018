"""What models and tenants may be called."""

from __future__ import annotations

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]*(/[A-Za-z0-9][A-Za-z0-9._:-]*)*$"
"""Names of models and tenants; they stand in URLs and in file names."""
LONGEST_NAME = 128
DEFAULT_TENANT = "default"
"""Whoever needs no key: the daemon's owner on its Unix socket, and anyone as long as there are no keys."""
