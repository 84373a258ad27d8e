"""What the chain of the ledger ended with, hour by hour, kept in a file outside the database.

Whoever rewrites the whole chain, or cuts its end off, must find and change this file, too, and every copy of a line of
it that somebody noted elsewhere. A line is a moment, a number of entries and the hash of the last one.
"""

import datetime
import os
from pathlib import Path

from headrace.ports import Clock


class Witness:
    """Lines in a file of this cloud's home. Errors of the disk are the caller's to tell."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._last = ""

    def note(self, entries: int, head: str) -> None:
        """Write one more line, unless the last one says the same. Raises OSError."""
        if not entries or f"{entries} {head}" == self._last:
            return
        moment = datetime.datetime.fromtimestamp(self._clock.now_us() // 1_000_000, datetime.UTC)
        file = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC | os.O_DSYNC, 0o600)
        with os.fdopen(file, "w") as out:
            out.write(f"{moment:%Y-%m-%dT%H:%M:%SZ} {entries} {head}\n")
        self._last = f"{entries} {head}"

    def heads(self) -> dict[int, str]:
        """Every number of entries that was noted, and the hash then. Lines that were not written whole are left out."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return {}
        found = {}
        for line in text.splitlines():
            words = line.split()
            if len(words) == 3 and words[1].isdigit() and len(words[2]) == 64:
                found[int(words[1])] = words[2]
        return found
