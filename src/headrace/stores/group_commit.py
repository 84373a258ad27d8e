"""A small SQLite file whose writers share commits: all that waits goes into one transaction and one fsync."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import apsw

from headrace.errors import Transient

Value = str | bytes | int
Write = tuple[str, tuple[Value, ...]]
Done = asyncio.Future[list[int]]

LINGER_S: Final = 0.005  # how long a write that nobody waits for may wait for another one's commit


class GroupCommit:
    """Writes run in a thread of their own; reads, on a connection of their own, see every write that has returned."""

    def __init__(self, path: Path, schema: str, what: str) -> None:
        self._what = what
        self._db = apsw.Connection(str(path))
        path.chmod(0o600)
        self._db.set_busy_timeout(5_000)
        for setting in ("journal_mode = WAL", "synchronous = FULL"):
            self._db.execute(f"PRAGMA {setting}")
        self._db.execute(schema)
        self._reader = apsw.Connection(str(path))  # the writer is busy in its thread
        self._thread = ThreadPoolExecutor(1, what)
        self._waiting: list[tuple[Sequence[Write], Done]] = []
        self._writing = self._urgent = self._lingering = False

    def read(self, query: str, *values: Value) -> Iterator[tuple[Any, ...]]:
        """The rows of a query."""
        return iter(self._reader.execute(query, values))

    async def write(self, *writes: Write) -> list[int]:
        """Durable, all or none, when this returns: how many rows each changed. Raises Transient."""
        done: Done = asyncio.get_running_loop().create_future()
        self._waiting.append((writes, done))
        self._begin()
        return await asyncio.shield(done)

    def write_soon(self, *writes: Write) -> Done:
        """The same for who does not wait: with the next `write`, or on its own after LINGER_S. Order is kept."""
        loop = asyncio.get_running_loop()
        done: Done = loop.create_future()
        self._waiting.append((writes, done))
        if not self._lingering:
            self._lingering = True
            loop.call_later(LINGER_S, self._linger)
        return done

    def close(self) -> None:
        """Finish what is being written or waits for it, and let go of the file."""
        self._thread.shutdown()
        left, self._waiting = self._waiting, []
        with contextlib.suppress(apsw.Error):  # nobody was told that it is written
            self._commit([writes for writes, _ in left])
        self._reader.close()
        self._db.close()

    def _linger(self) -> None:
        self._lingering = False
        if self._waiting:
            self._begin()

    def _begin(self) -> None:
        self._urgent = True
        if not self._writing:
            self._writing = True
            self._groups = asyncio.ensure_future(self._write_groups())

    async def _write_groups(self) -> None:
        """All that waits in one transaction, while anybody waits for it."""
        loop = asyncio.get_running_loop()
        while self._urgent:
            self._urgent = False
            group, self._waiting = self._waiting, []
            changed: list[list[int]] = []
            error: Transient | None = None
            try:
                changed = await loop.run_in_executor(self._thread, self._commit, [writes for writes, _ in group])
            except apsw.Error as problem:
                error = Transient(f"{self._what} cannot be written: {problem}", delay_us=1_000_000)
            for place, (_, done) in enumerate(group):
                if done.done():
                    continue
                if error is None:
                    done.set_result(changed[place])
                else:
                    done.set_exception(error)
        self._writing = False

    def _commit(self, group: list[Sequence[Write]]) -> list[list[int]]:
        changed: list[list[int]] = []
        with self._db:
            changed += ([self._run(*write) for write in writes] for writes in group)
        return changed

    def _run(self, statement: str, values: tuple[Value, ...]) -> int:
        self._db.execute(statement, values)
        return self._db.changes()
