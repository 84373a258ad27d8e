"""A small SQLite file whose writers share commits: all that waits goes into one transaction and one fsync."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw

from headrace.errors import Transient

Value = str | bytes | int
Write = tuple[str, tuple[Value, ...]]


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
        self._waiting: list[tuple[Sequence[Write], asyncio.Future[list[int]]]] = []
        self._writing = False

    def read(self, query: str, *values: Value) -> Iterator[tuple[Any, ...]]:
        """The rows of a query."""
        return iter(self._reader.execute(query, values))

    async def write(self, *writes: Write) -> list[int]:
        """Durable, all or none, when this returns: how many rows each changed. Raises Transient."""
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((writes, done))
        if not self._writing:
            self._writing = True
            self._groups = asyncio.ensure_future(self._write_groups())
        return await asyncio.shield(done)

    def close(self) -> None:
        """Finish what is being written, and let go of the file."""
        self._thread.shutdown()
        self._reader.close()
        self._db.close()

    async def _write_groups(self) -> None:
        """All that waits in one transaction, while there is any."""
        loop = asyncio.get_running_loop()
        while self._waiting:
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
