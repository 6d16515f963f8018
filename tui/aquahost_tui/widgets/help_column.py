"""Signs and their meanings below each other, broken to the width that there is."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from aquahost_tui.help_text import Section

_LEAST_WORDS = 12
"""Columns that meanings get, however little room there is."""


class HelpColumn(Widget):
    """Sections of the help; what a sign means goes on below itself where it is too long for one line."""

    DEFAULT_CSS = """
    HelpColumn { height: auto; width: 1fr; }
    """

    def __init__(self, sections: Sequence[Section], id: str | None = None) -> None:
        super().__init__(id=id)
        self._sections = sections

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """All of it."""
        return len(self._lines(width))

    def render(self) -> Content:
        """All of it."""
        return Content("\n").join(self._lines(self.size.width))

    def _lines(self, width: int) -> list[Content]:
        signs = max((len(entry.sign) for section in self._sections for entry in section.entries), default=0)
        words = max(width - signs - 4, _LEAST_WORDS)
        lines: list[Content] = []
        for section in self._sections:
            lines += [Content("")] if lines else []
            lines.append(Content.styled(section.title, "bold $text-primary"))
            for entry in section.entries:
                first, *others = Content.styled(entry.meaning, "$foreground").wrap(words)
                lines.append(Content.assemble((f"  {entry.sign:<{signs}}  ", entry.colour), first))
                lines += [other.pad_left(signs + 4) for other in others]
        return lines
