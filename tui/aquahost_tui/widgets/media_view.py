"""A finished image as a picture of half blocks, or a finished sound as its waveform."""

from __future__ import annotations

from textual import work
from textual.containers import VerticalScroll
from textual.content import Content
from textual.strip import Strip
from textual.widget import Widget
from textual.worker import get_current_worker

from aquahost_tui.widgets.half_blocks import Picture, read_picture
from aquahost_tui.widgets.waveform import Sound, read_sound, wave_lines

_WAVE_LINES = 8
_LEAST_LINES, _OTHER_LINES = 4, 5
"""A picture takes the conversation's height but for the lines of words around it."""


class MediaView(Widget):
    """Decodes in the background, anew for each size, and draws what has come of it; a last line tells what it is."""

    DEFAULT_CSS = """
    MediaView { height: auto; width: 1fr; }
    """

    def __init__(self, kind: str, data: bytes) -> None:
        super().__init__()
        self._kind = kind
        self._data = data
        self._picture: Picture | None = None
        self._sound: Sound | None = None
        self._trouble = ""
        self._made_for = (0, 0)

    @property
    def trouble(self) -> str:
        """Why it cannot be drawn; empty if it can."""
        return self._trouble

    def on_resize(self) -> None:
        """Scale it to the room there is."""
        self.fit()

    def fit(self) -> None:
        """Scale it to the width, and an image also to the height of what scrolls around it."""
        room = next((part.size.height for part in self.ancestors if isinstance(part, VerticalScroll)), _LEAST_LINES)
        wish = (self.size.width, max(room - _OTHER_LINES, _LEAST_LINES) if self._kind == "image" else 0)
        if wish != self._made_for:
            self._made_for = wish
            self._decode(*wish)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """The lines of the picture or the waveform, and one of words."""
        if self._picture is not None:
            return len(self._picture.lines) + 1
        return _WAVE_LINES + 1 if self._sound is not None else 1

    def render_line(self, y: int) -> Strip:
        """A line of the picture; all else is text."""
        picture = self._picture
        if picture is not None and y < len(picture.lines):
            return picture.lines[y].adjust_cell_length(self.size.width, self.rich_style)
        return super().render_line(y)

    def render(self) -> Content:
        """The waveform and the words."""
        if self._trouble:
            return Content.styled(self._trouble, "$text-error")
        if self._picture is not None:
            words = f"{self._picture.width_px} × {self._picture.height_px} pixels"
            return Content("\n" * len(self._picture.lines)) + Content.styled(words, "$foreground-muted")
        if self._sound is None:
            return Content.styled("…", "$foreground-muted")
        lines = [Content.styled(line, "$text-success") for line in wave_lines(self._sound.peaks, _WAVE_LINES)]
        return Content("\n").join([*lines, Content.styled(self._sound.words, "$foreground-muted")])

    @work(thread=True, exclusive=True, group="media")
    def _decode(self, columns: int, lines: int) -> None:
        worker = get_current_worker()
        made: Picture | Sound | str
        try:
            made = (
                read_picture(self._data, columns, lines) if self._kind == "image" else read_sound(self._data, columns)
            )
        except ValueError as error:
            made = str(error)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show, made)

    def _show(self, made: Picture | Sound | str) -> None:
        self._picture = made if isinstance(made, Picture) else None
        self._sound = made if isinstance(made, Sound) else None
        self._trouble = made if isinstance(made, str) else ""
        self.refresh(layout=True)
