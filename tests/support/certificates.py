"""Certificates for tests, made with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def openssl(*words: str) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def make_certificate(folder: Path, name: str, *more: str) -> tuple[str, str]:
    """A certificate of localhost that vouches for itself, and its key, without a password unless `more` gives one."""
    cert, key = str(folder / f"{name}.crt"), str(folder / f"{name}.key")
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2")
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    openssl(*new, *(more or ("-nodes",)), "-keyout", key, "-out", cert, *subject)
    return cert, key
