"""One log file of bounded size, with one older file beside it; and the last lines in memory."""

from collections import deque
from pathlib import Path
from typing import Final

FILE_BYTES_MAX: Final = 8 << 20
LINE_BYTES_MAX: Final = 4_096
LINES_KEPT: Final = 200


class LogFile:
    """Takes a process's output. A disk that is full loses log lines, never the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)

    def add(self, line: bytes) -> None:
        """Keep one line, cut to a bounded length."""
        text = line[:LINE_BYTES_MAX].decode(errors="replace").rstrip()
        self.lines.append(text)
        try:
            with self._path.open("a", encoding="utf8") as file:
                file.write(text + "\n")
                size = file.tell()
            if size > FILE_BYTES_MAX:
                self._path.replace(self._path.with_suffix(".log.1"))
        except OSError:
            return
