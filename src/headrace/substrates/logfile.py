"""What a process printed: the last lines in memory, and a file of bounded size with one older file beside it.

Written by the host for every process it keeps. What is printed is not trusted: lines are cut and made printable.
"""

from collections import deque
from pathlib import Path
from typing import Final

FILE_BYTES_MAX: Final = 8 << 20
LINE_BYTES_MAX: Final = 2_048
LINES_KEPT: Final = 1_000
# Terminal control characters would act on the terminal of whoever reads the log.
_PRINTABLE: Final = {code: "�" for code in (*range(32), *range(127, 160)) if code != 9}


class LogFile:
    """Takes a process's output in pieces. A disk that is full loses log lines, never the process."""

    def __init__(self, path: Path, file_bytes_max: int = FILE_BYTES_MAX) -> None:
        self._path = path
        self._file_bytes_max = file_bytes_max
        self._size = -1  # of the file; -1 before the first line
        self._rest = b""
        self._skipping = False
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)

    def take(self, data: bytes) -> list[bytes]:
        """Keep what was printed; the lines that are now whole, cut at LINE_BYTES_MAX, without their ends."""
        *whole, rest = data.split(b"\n")
        found = []
        for part in whole:
            line, self._rest = self._rest + part, b""
            if self._skipping:
                self._skipping = False
            else:
                found.append(line[:LINE_BYTES_MAX])
        self._rest = b"" if self._skipping else self._rest + rest
        if len(self._rest) > LINE_BYTES_MAX:  # the rest of this line, however long, is not kept
            found.append(self._rest[:LINE_BYTES_MAX])
            self._rest, self._skipping = b"", True
        self._keep([_text(line) for line in found])
        return found

    def end(self) -> None:
        """The process is gone: its last line has no end."""
        if self._rest:
            self._keep([_text(self._rest)])
        self._rest, self._skipping = b"", False

    def note(self, text: str) -> None:
        """A line of the host's own."""
        self._keep([f"headrace: {text}"])

    def _keep(self, lines: list[str]) -> None:
        if not lines:
            return
        self.lines.extend(lines)
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            if self._size < 0:
                self._size = self._path.stat().st_size if self._path.exists() else 0
            if self._size + len(data) > self._file_bytes_max and self._size:
                self._path.replace(self._path.with_suffix(".log.1"))
                self._size = 0
            with self._path.open("ab") as file:
                file.write(data)
            self._size += len(data)
        except OSError:
            self._size = -1


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode(errors="replace").translate(_PRINTABLE)
