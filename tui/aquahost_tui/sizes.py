"""How small a terminal may be, and from when on it counts as low."""

from __future__ import annotations

LEAST_WIDTH = 64
LEAST_HEIGHT = 16
LOW_HEIGHT = 32
"""Lines from which boxes are worth their frames."""
