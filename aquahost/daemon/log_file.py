"""A log file that can do without its disk."""

from __future__ import annotations

import io
import logging
import os
import sys
from logging.handlers import RotatingFileHandler


class PatientFileHandler(RotatingFileHandler):
    """Where the file cannot be written, says so once on standard error and drops what there is to log; it goes on when
    there is room again; then the log says how much is missing."""

    _dropped = 0

    def _open(self) -> io.TextIOWrapper:
        # Without a buffer: it would keep what could not be written, to fail again at every later line and at the end.
        file = open(self.baseFilename, "ab", buffering=0)  # noqa: SIM115 (the handler closes it)
        return io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", write_through=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, if possible."""
        before = self._dropped
        super().emit(record)
        if before and self._dropped == before:
            self._dropped = 0
            missing = f"the log could not be written; {before} lines are missing here"
            super().emit(logging.LogRecord(__name__, logging.WARNING, __file__, 0, missing, None, None))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's own name)
        """Called within an exception handler of `emit`."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._dropped += 1
        if self._dropped == 1:
            try:
                os.write(2, f"the log {self.baseFilename} cannot be written: {error.strerror}\n".encode())
            except OSError:
                return  # the same disk, most likely
