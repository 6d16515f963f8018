"""What a terminal sends, as Textual reads it."""

from __future__ import annotations

from textual.drivers.linux_driver import LinuxDriver


class ForgivingDriver(LinuxDriver):
    """Drops what is no UTF-8 (another encoding, noise on a line), where Textual's own would end the app."""

    def run_input_thread(self) -> None:
        """Read until the app ends."""
        while not self.exit_event.is_set():
            try:
                super().run_input_thread()
            except UnicodeDecodeError:
                continue
