"""Fixtures that several files share."""

from __future__ import annotations

from llm_host import expected, host, wide_llm

__all__ = ["expected", "host", "wide_llm"]
