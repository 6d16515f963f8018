"""How small a terminal may be."""

from __future__ import annotations

LEAST_WIDTH = 64
LEAST_HEIGHT = 16
