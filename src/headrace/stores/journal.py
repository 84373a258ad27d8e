"""A gateway's durable end: an append-only file, committed in groups by one helper thread.

Appending costs a framed copy; while the thread writes and syncs one group, the next one gathers. A group that cannot
be written (disk full, I/O error) is reported as not committed and the next group is tried afresh: the journal heals by
itself when space returns. Bytes once shown to a reader are never overwritten: a file with a group that failed half way
is cut back to its last good byte and left, and the next group begins another segment.

The first segment is locked as long as the process lives, and appears under its name only when it is: so a reader can
tell a dead owner from a silent one. Nothing here reads or deletes what was written; that is `journal_reader`'s part.
"""

import asyncio
import fcntl
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from headrace.state.usage import Entry
from headrace.stores.framing import frame

SEGMENT_BYTES_MAX: Final = 64 << 20
SWITCH_S: Final = 0.0005  # the interpreter's default of 5 ms would hold every answer that long under load
_CLOSED: Final = -1
_CLOSE_POLL_S: Final = 0.002
_END: Final = b""
Committed = Callable[[bool], None]


class FileJournal:
    """One gateway process's journal in `folder`, named by its epoch. Made inside a running event loop."""

    def __init__(self, folder: Path, epoch: str, segment_bytes_max: int = SEGMENT_BYTES_MAX) -> None:
        """Raises OSError when the folder cannot be written; a gateway that cannot keep records must not start."""
        self._folder = folder
        self._epoch = epoch
        self._segment_bytes_max = segment_bytes_max
        self._segment = 0
        self._loop = asyncio.get_running_loop()
        self._frames: list[bytes] = []  # of the group that gathers, and who waits for it
        self._waiting: list[Committed] = []
        self._told: list[Committed] = []  # who waits for the group that is being written
        self._busy = self._closing = False
        self._groups: SimpleQueue[bytes] = SimpleQueue()
        self._good = 0
        self._file = self._life = self._open()
        sys.setswitchinterval(SWITCH_S)
        self._thread = threading.Thread(target=self._write_groups, name="journal", daemon=True)
        self._thread.start()

    def append(self, entry: Entry, committed: Committed | None = None) -> None:
        """Append; `committed` is called in the loop with whether the entry is on disk. After `close` it never is."""
        if self._closing:
            if committed is not None:
                self._loop.call_soon(committed, False)
            return
        self._frames.append(frame(entry))
        if committed is not None:
            self._waiting.append(committed)
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._send)  # not at once: what else this turn of the loop brings comes along

    async def close(self) -> None:
        """Commit what is pending, and give the lock up: from here on the epoch is dead to readers."""
        self._closing = True
        while self._busy:  # noqa: ASYNC110 - the last group or two, once in a life
            await asyncio.sleep(_CLOSE_POLL_S)
        self._groups.put(_END)
        await asyncio.to_thread(self._thread.join)
        for file in {self._file, self._life} - {_CLOSED}:
            os.close(file)
        self._file = self._life = _CLOSED

    def _send(self) -> None:
        """Hand the gathered group to the thread."""
        frames, self._frames = self._frames, []
        self._told, self._waiting = self._waiting, []
        self._groups.put(b"".join(frames))

    def _written(self, done: bool) -> None:
        """The thread has written a group, or could not: the next one goes, and who waited is told."""
        told, self._told = self._told, []
        if self._frames:
            self._send()
        else:
            self._busy = False
        for committed in told:
            committed(done)

    # --- in the helper thread -----------------------------------------------------------------------------------

    def _write_groups(self) -> None:
        """One group at a time. Each step here asks for the interpreter, which the loop has: so there are few."""
        while group := self._groups.get():
            done = self._commit(group)
            try:
                self._loop.call_soon_threadsafe(self._written, done)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

    def _commit(self, data: bytes) -> bool:
        try:
            if self._file == _CLOSED:
                self._segment += 1
                self._file = self._open()
                self._good = 0
            left = data
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            self._cut_back()
            return False
        self._good += len(data)
        if self._good >= self._segment_bytes_max:
            self._leave()
        return True

    def _cut_back(self) -> None:
        """Undo a group that failed. A reader may have seen bytes of it, so nothing is ever written in their place."""
        if self._file == _CLOSED:
            return
        try:
            if os.fstat(self._file).st_size == self._good:
                return
            os.ftruncate(self._file, self._good)
        except OSError:
            pass  # at worst the file ends in a torn frame, which readers stop at
        self._leave()

    def _leave(self) -> None:
        """No more is written to this segment; the next group begins another."""
        if self._file != self._life:
            with suppress(OSError):  # everything committed was synced before
                os.close(self._file)
        self._file = _CLOSED

    def _name(self) -> str:
        return f"{self._epoch}.{self._segment}.log" if self._segment else f"{self._epoch}.log"

    def _open(self) -> int:
        """A new segment, durable in its folder; the first one is locked before it can be seen."""
        path = self._folder / self._name()
        unseen = path.with_suffix(".new")
        # O_DSYNC: one system call writes and syncs, so the thread asks for the interpreter once a group.
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_DSYNC
        file = os.open(unseen, flags, 0o600)
        try:
            if not self._segment:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unseen.rename(path)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            os.close(file)
            unseen.unlink(missing_ok=True)
            raise
        return file
