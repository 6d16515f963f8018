"""The UI's own colours, so that the six uses of memory differ from each other in dark and in light."""

from __future__ import annotations

from dataclasses import replace

from textual.theme import BUILTIN_THEMES, Theme

DARK = Theme(
    name="aquahost-dark",
    primary="#3b9eff",
    secondary="#5b6ee1",
    success="#3ecf8e",
    warning="#f5a623",
    error="#e5484d",
    accent="#b58cff",
    foreground="#dfe6ee",
    background="#0d1218",
    surface="#131a22",
    panel="#1b2530",
    dark=True,
)
LIGHT = Theme(
    name="aquahost-light",
    primary="#0b6bcb",
    secondary="#4750b8",
    success="#1a8f5a",
    warning="#c77700",
    error="#c62a2f",
    accent="#7c3aed",
    foreground="#1b2733",
    background="#fbfcfd",
    surface="#f1f4f7",
    panel="#e3e9ef",
    dark=False,
)
SIXTEEN = replace(
    BUILTIN_THEMES["ansi-dark"],
    name="aquahost-16",
    accent="ansi_magenta",  # Textual's is that of success, which would make paged prompts look like running ones
    foreground="ansi_white",
    background="ansi_black",
    surface="ansi_black",
    panel="ansi_black",
)
"""For terminals that have no other colours."""


def theme_names() -> list[str]:
    """Every theme that can be chosen, ours first."""
    return [DARK.name, LIGHT.name, SIXTEEN.name, *sorted(BUILTIN_THEMES)]
