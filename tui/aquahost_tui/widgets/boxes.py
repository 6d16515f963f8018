"""Frames around the regions of a screen."""

from __future__ import annotations

from textual.widget import Widget


def boxed(widget: Widget, title: str) -> Widget:
    """The widget in a frame with a title."""
    widget.border_title = title
    widget.add_class("box")
    return widget
