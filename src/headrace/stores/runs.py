"""Runs of pipelines in a SQLite file of their own; appends of many runs share one commit and one fsync."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from headrace.state.run import Cached
from headrace.stores.group_commit import GroupCommit

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


class SqliteRuns:
    """`pipelines.ports.Runs`. Reads see every append that has returned."""

    def __init__(self, path: Path) -> None:
        self._db = GroupCommit(path, _SCHEMA, "the journal of runs")

    async def begin(self, run: str, started: bytes) -> bool:
        """See `ports.Runs`. The name is unique in the table, so that of two at once one begins it."""
        (new, _) = await self._db.write(
            ("INSERT INTO run (run, done) VALUES (?, 0) ON CONFLICT (run) DO NOTHING", (run,)),
            ("INSERT INTO event (run, data) SELECT ?, ? WHERE changes() = 1", (run, started)),
        )
        return new == 1

    async def append(self, run: str, events: Sequence[bytes]) -> None:
        """See `ports.Runs`."""
        await self._db.write(*(("INSERT INTO event (run, data) VALUES (?, ?)", (run, event)) for event in events))

    def append_soon(self, run: str, events: Sequence[bytes]) -> asyncio.Future[list[int]]:
        """See `ports.Runs`."""
        return self._db.write_soon(*(("INSERT INTO event (run, data) VALUES (?, ?)", (run, event)) for event in events))

    def events(self, run: str) -> list[bytes]:
        """See `ports.Runs`."""
        return [bytes(row[0]) for row in self._db.read("SELECT data FROM event WHERE run = ? ORDER BY seq", run)]

    def unfinished(self) -> list[str]:
        """See `ports.Runs`."""
        return [str(row[0]) for row in self._db.read("SELECT run FROM run WHERE NOT done ORDER BY seq")]

    def recent(self, limit: int) -> list[str]:
        """See `ports.Runs`."""
        return [str(row[0]) for row in self._db.read("SELECT run FROM run ORDER BY seq DESC LIMIT ?", limit)]

    def cached(self, tenant: str, digest: str) -> Cached | None:
        """See `ports.Runs`."""
        found = self._db.read("SELECT run, at_us, data FROM cached WHERE tenant = ? AND digest = ?", tenant, digest)
        return next((Cached(str(run), int(at_us), bytes(data)) for run, at_us, data in found), None)

    async def remember(self, tenant: str, digest: str, result: Cached, age_us: int) -> None:
        """See `ports.Runs`. What nobody may use any more is deleted on the way."""
        values = (tenant, digest, result.run, result.at_us, result.at_us + age_us, result.data)
        await self._db.write(
            ("DELETE FROM cached WHERE until_us < ?", (result.at_us,)),
            ("INSERT OR REPLACE INTO cached VALUES (?, ?, ?, ?, ?, ?)", values),
        )

    async def mark(self, run: str, done: bool) -> None:
        """See `ports.Runs`."""
        await self._db.write(
            ("INSERT INTO run (run, done) VALUES (?1, ?2) ON CONFLICT (run) DO UPDATE SET done = ?2", (run, int(done)))
        )

    async def deploy(self, tenant: str, name: str, text: str) -> None:
        """See `ports.Runs`."""
        await self._db.write(
            ("INSERT OR REPLACE INTO pipeline (tenant, name, text) VALUES (?, ?, ?)", (tenant, name, text))
        )

    def deployed(self, tenant: str) -> dict[str, str]:
        """See `ports.Runs`."""
        found = self._db.read("SELECT name, text FROM pipeline WHERE tenant = ? ORDER BY name", tenant)
        return {str(name): str(text) for name, text in found}

    def close(self) -> None:
        """Finish what is being written, and let go of the file."""
        self._db.close()
