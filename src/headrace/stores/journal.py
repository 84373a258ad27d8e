"""A gateway's durable end: an append-only file, committed in groups by one helper thread.

Appending costs a framed copy; while the thread writes and syncs one group, the next one gathers. A group that cannot
be written (disk full) is reported as not committed, the file is cut back to the last good byte, and the next group is
tried afresh: the journal heals by itself when space returns. The file is locked while its process lives, so that the
reader can tell a dead owner from a silent one.
"""

import asyncio
import fcntl
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace.state.usage import Entry
from headrace.stores.framing import frame

SEGMENT_BYTES_MAX: Final = 64 << 20
SWITCH_S: Final = 0.0002  # the interpreter's default of 5 ms would hold every answer that long under load
Committed = Callable[[bool], None]


class FileJournal:
    """One gateway process's journal in `folder`, named by its epoch. Made inside a running event loop."""

    def __init__(self, folder: Path, epoch: str) -> None:
        self._folder = folder
        self._epoch = epoch
        self._segment = 0
        self._loop = asyncio.get_running_loop()
        self._frames: list[bytes] = []
        self._waiting: list[Committed] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._good = 0
        self._file = self._open()
        sys.setswitchinterval(SWITCH_S)
        self._thread = threading.Thread(target=self._write_groups, name="journal", daemon=True)
        self._thread.start()

    def append(self, entry: Entry, committed: Committed | None = None) -> None:
        """Append; `committed` is called in the loop with whether the entry is on disk."""
        data = frame(entry)
        with self._lock:
            self._frames.append(data)
            if committed is not None:
                self._waiting.append(committed)
        if not self._wake.is_set():
            self._wake.set()

    async def close(self) -> None:
        """Commit what is pending and close."""
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)
        os.close(self._file)

    def _open(self) -> int:
        name = f"{self._epoch}.log" if not self._segment else f"{self._epoch}.{self._segment}.log"
        # O_DSYNC: one system call writes and syncs, so the thread asks for the interpreter once a group.
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_DSYNC
        file = os.open(self._folder / name, flags, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._good = os.fstat(file).st_size
        return file

    def _write_groups(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                frames, self._frames = self._frames, []
                waiting, self._waiting = self._waiting, []
            if frames:
                self._tell(waiting, self._commit(b"".join(frames)))
            elif self._closing:
                return
            if self._closing:
                self._wake.set()

    def _commit(self, data: bytes) -> bool:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            self._cut_back()
            return False
        self._good += len(data)
        if self._good >= SEGMENT_BYTES_MAX:
            self._roll()
        return True

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._file, self._good)
        except OSError:
            # What was half written cannot be undone: leave this file, whose torn end the reader stops at.
            self._roll()

    def _roll(self) -> None:
        old = self._file
        self._segment += 1
        try:
            self._file = self._open()
        except OSError:
            self._segment -= 1
            return
        # The old segment stays locked by nobody: its entries are complete, and its open requests end in later ones.
        os.close(old)

    def _tell(self, waiting: list[Committed], done: bool) -> None:
        if not waiting:
            return

        def call() -> None:
            for committed in waiting:
                committed(done)

        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more
