"""Runs of pipelines in a SQLite file of their own; appends of many runs share one commit and one fsync."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import apsw

from headrace.errors import Transient
from headrace.state.run import Cached

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS event (seq INTEGER PRIMARY KEY, run TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS event_of ON event (run, seq);
CREATE TABLE IF NOT EXISTS run (seq INTEGER PRIMARY KEY, run TEXT UNIQUE NOT NULL, done INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS cached (
    tenant TEXT, digest TEXT, run TEXT NOT NULL, at_us INTEGER NOT NULL, until_us INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (tenant, digest)
);
CREATE INDEX IF NOT EXISTS cached_until ON cached (until_us);
CREATE TABLE IF NOT EXISTS pipeline (tenant TEXT, name TEXT, text TEXT NOT NULL, PRIMARY KEY (tenant, name));
"""
_Write = tuple[str, tuple[str | bytes | int, ...]]


class SqliteRuns:
    """`pipelines.ports.Runs`. Reads see every append that has returned."""

    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(str(path))
        path.chmod(0o600)
        self._db.set_busy_timeout(5_000)
        for setting in ("journal_mode = WAL", "synchronous = FULL"):
            self._db.execute(f"PRAGMA {setting}")
        self._db.execute(_SCHEMA)
        self._reader = apsw.Connection(str(path))  # the writer is busy in its thread
        self._thread = ThreadPoolExecutor(1, "runs")
        self._waiting: list[tuple[list[_Write], asyncio.Future[list[int]]]] = []
        self._writing = False

    async def begin(self, run: str, started: bytes) -> bool:
        """See `ports.Runs`. The name is unique in the table, so that of two at once one begins it."""
        (new, _) = await self._write([
            ("INSERT INTO run (run, done) VALUES (?, 0) ON CONFLICT (run) DO NOTHING", (run,)),
            ("INSERT INTO event (run, data) SELECT ?, ? WHERE changes() = 1", (run, started)),
        ])  # fmt: skip
        return new == 1

    async def append(self, run: str, events: Sequence[bytes]) -> None:
        """See `ports.Runs`."""
        await self._write([("INSERT INTO event (run, data) VALUES (?, ?)", (run, event)) for event in events])

    def events(self, run: str) -> list[bytes]:
        """See `ports.Runs`."""
        return [
            bytes(row[0]) for row in self._reader.execute("SELECT data FROM event WHERE run = ? ORDER BY seq", (run,))
        ]

    def unfinished(self) -> list[str]:
        """See `ports.Runs`."""
        return [str(row[0]) for row in self._reader.execute("SELECT run FROM run WHERE NOT done ORDER BY seq")]

    def recent(self, limit: int) -> list[str]:
        """See `ports.Runs`."""
        return [str(row[0]) for row in self._reader.execute("SELECT run FROM run ORDER BY seq DESC LIMIT ?", (limit,))]

    def cached(self, tenant: str, digest: str) -> Cached | None:
        """See `ports.Runs`."""
        found = self._reader.execute(
            "SELECT run, at_us, data FROM cached WHERE tenant = ? AND digest = ?", (tenant, digest)
        )
        return next((Cached(str(run), int(at_us), bytes(data)) for run, at_us, data in found), None)

    async def remember(self, tenant: str, digest: str, result: Cached, age_us: int) -> None:
        """See `ports.Runs`. What nobody may use any more is deleted on the way."""
        values = (tenant, digest, result.run, result.at_us, result.at_us + age_us, result.data)
        await self._write([
            ("DELETE FROM cached WHERE until_us < ?", (result.at_us,)),
            ("INSERT OR REPLACE INTO cached VALUES (?, ?, ?, ?, ?, ?)", values),
        ])  # fmt: skip

    async def mark(self, run: str, done: bool) -> None:
        """See `ports.Runs`."""
        await self._write([
            ("INSERT INTO run (run, done) VALUES (?1, ?2) ON CONFLICT (run) DO UPDATE SET done = ?2", (run, int(done)))
        ])  # fmt: skip

    async def deploy(self, tenant: str, name: str, text: str) -> None:
        """See `ports.Runs`."""
        await self._write(
            [("INSERT OR REPLACE INTO pipeline (tenant, name, text) VALUES (?, ?, ?)", (tenant, name, text))]
        )

    def deployed(self, tenant: str) -> dict[str, str]:
        """See `ports.Runs`."""
        found = self._reader.execute("SELECT name, text FROM pipeline WHERE tenant = ? ORDER BY name", (tenant,))
        return {str(name): str(text) for name, text in found}

    def close(self) -> None:
        """Finish what is being written, and let go of the file."""
        self._thread.shutdown()
        self._reader.close()
        self._db.close()

    async def _write(self, writes: list[_Write]) -> list[int]:
        """Durable when this returns; how many rows each changed."""
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((writes, done))
        if not self._writing:
            self._writing = True
            self._groups = asyncio.ensure_future(self._write_groups())
        return await asyncio.shield(done)

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
                error = Transient(f"the journal of runs cannot be written: {problem}", delay_us=1_000_000)
            for place, (_, done) in enumerate(group):
                if done.done():
                    continue
                if error is None:
                    done.set_result(changed[place])
                else:
                    done.set_exception(error)
        self._writing = False

    def _commit(self, group: list[list[_Write]]) -> list[list[int]]:
        changed: list[list[int]] = []
        with self._db:
            changed += ([self._run(*write) for write in writes] for writes in group)
        return changed

    def _run(self, statement: str, values: tuple[str | bytes | int, ...]) -> int:
        self._db.execute(statement, values)
        return self._db.changes()
