"""Runs of pipelines in a SQLite file of their own; appends of many runs share one commit and one fsync."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from headrace.state.run import Cached
from headrace.stores import upgrade
from headrace.stores.group_commit import GroupCommit

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS event (seq INTEGER PRIMARY KEY, run TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS event_of ON event (run, seq);
CREATE TABLE IF NOT EXISTS run (
    seq INTEGER PRIMARY KEY, run TEXT UNIQUE NOT NULL, done INTEGER NOT NULL, tenant TEXT NOT NULL DEFAULT '',
    ended_us INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS run_ended ON run (tenant, ended_us) WHERE done;
CREATE TABLE IF NOT EXISTS cached (
    tenant TEXT, digest TEXT, run TEXT NOT NULL, at_us INTEGER NOT NULL, until_us INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (tenant, digest)
);
CREATE INDEX IF NOT EXISTS cached_until ON cached (until_us);
CREATE INDEX IF NOT EXISTS cached_run ON cached (run);
CREATE TABLE IF NOT EXISTS held (
    run TEXT, digest TEXT, tenant TEXT NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (run, digest)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS held_digest ON held (digest);
CREATE TABLE IF NOT EXISTS loose (digest TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept (tenant TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS held_made AFTER INSERT ON held BEGIN
    INSERT INTO kept VALUES (NEW.tenant, NEW.bytes) ON CONFLICT (tenant) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER IF NOT EXISTS held_gone AFTER DELETE ON held BEGIN
    UPDATE kept SET bytes = bytes - OLD.bytes WHERE tenant = OLD.tenant;
    INSERT OR IGNORE INTO loose VALUES (OLD.digest);
END;
CREATE TABLE IF NOT EXISTS pipeline (tenant TEXT, name TEXT, text TEXT NOT NULL, PRIMARY KEY (tenant, name));
"""


_MARK: Final = """
INSERT INTO run (run, done, ended_us) VALUES (?1, ?2, ?3)
ON CONFLICT (run) DO UPDATE SET done = ?2, ended_us = ?3
"""
_HOLD: Final = "INSERT INTO held (run, digest, tenant, bytes) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_NO_RUN: Final = "AND NOT EXISTS (SELECT 1 FROM run WHERE run = ?1)"  # it had ended, or never began
_FILL: Final = """
UPDATE run SET
    tenant = coalesce((SELECT json_extract(CAST(data AS TEXT), '$.tenant') FROM event e WHERE e.run = run.run
                       ORDER BY e.seq LIMIT 1), ''),
    ended_us = coalesce((SELECT json_extract(CAST(data AS TEXT), '$.at_us') FROM event e WHERE e.run = run.run
                         ORDER BY e.seq DESC LIMIT 1), 0)
"""


class SqliteRuns:
    """`pipelines.ports.Runs`. Reads see every append that has returned."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            upgrade.add_column(path, "run", "tenant TEXT NOT NULL DEFAULT ''", "")
            upgrade.add_column(path, "run", "ended_us INTEGER NOT NULL DEFAULT 0", _SCHEMA + _FILL)
        self._db = GroupCommit(path, _SCHEMA, "the journal of runs")

    async def begin(self, run: str, started: bytes, tenant: str = "") -> bool:
        """See `ports.Runs`. The name is unique in the table, so that of two at once one begins it."""
        (new, _) = await self._db.write(
            ("INSERT INTO run (run, done, tenant) VALUES (?, 0, ?) ON CONFLICT (run) DO NOTHING", (run, tenant)),
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

    async def mark(self, run: str, done: bool, at_us: int = 0) -> None:
        """See `ports.Runs`."""
        await self._db.write((_MARK, (run, int(done), at_us)))

    async def forget(self, run: str) -> bool:
        """See `ports.Runs`. Triggers note which objects it had."""
        (ended, *_) = await self._db.write(
            ("DELETE FROM run WHERE run = ? AND done", (run,)),
            *((f"DELETE FROM {table} WHERE run = ?1 {_NO_RUN}", (run,)) for table in ("event", "held", "cached")),  # noqa: S608 - our own words
        )
        return bool(ended)

    def over(self, tenant: str, before_us: int) -> list[str]:
        """See `ports.Runs`."""
        query = "SELECT run FROM run WHERE done AND tenant = ? AND ended_us < ? ORDER BY ended_us LIMIT 1000"
        return [str(row[0]) for row in self._db.read(query, tenant, before_us)]

    def tenants(self) -> list[str]:
        """See `ports.Runs`."""
        return [str(row[0]) for row in self._db.read("SELECT DISTINCT tenant FROM run ORDER BY tenant")]

    async def hold(self, tenant: str, run: str, found: Sequence[tuple[str, int]]) -> None:
        """See `ports.Runs`."""
        await self._db.write(*((_HOLD, (run, digest, tenant, size)) for digest, size in found))

    def held(self, digest: str) -> bool:
        """See `ports.Runs`."""
        return any(True for _ in self._db.read("SELECT 1 FROM held WHERE digest = ? LIMIT 1", digest))

    def loose(self) -> list[str]:
        """See `ports.Runs`."""
        return [str(row[0]) for row in self._db.read("SELECT digest FROM loose")]

    async def let_go(self, digest: str) -> None:
        """See `ports.Runs`."""
        await self._db.write(("DELETE FROM loose WHERE digest = ?", (digest,)))

    def unbegun(self) -> list[str]:
        """See `ports.Runs`."""
        query = "SELECT DISTINCT run FROM held WHERE run NOT IN (SELECT run FROM run)"
        return [str(row[0]) for row in self._db.read(query)]

    def kept(self, tenant: str = "") -> dict[tuple[str, str], int]:
        """The bytes of large results that tenants keep, as `ports.Records.kept` tells them."""
        where, values = ("AND tenant = ?", (tenant,)) if tenant else ("", ())
        found = self._db.read(f"SELECT tenant, bytes FROM kept WHERE bytes {where}", *values)  # noqa: S608 - our own words
        return {(str(of), "run"): int(size) for of, size in found}

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
