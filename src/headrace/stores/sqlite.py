"""The store on one machine: SQLite in write-ahead mode with full sync, one connection, one writer.

Held by the controller alone. Records are msgpack beside the columns that are searched by, so that a field can be
added to a record without a step of the schema. Nothing here decides anything.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import msgspec

from headrace.errors import Permanent, Transient
from headrace.ports import KeyRecord
from headrace.state.decision import Decision
from headrace.state.fleet import Lease
from headrace.state.usage import Usage
from headrace.stores.schema import STEPS

BUSY_TIMEOUT_MS: Final = 5_000
RETRY_DELAY_US: Final = 1_000_000
T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode
_usage: Callable[[bytes], Usage] = msgspec.msgpack.Decoder(Usage).decode
_lease: Callable[[bytes], Lease] = msgspec.msgpack.Decoder(Lease).decode
_decision: Callable[[bytes], Decision] = msgspec.msgpack.Decoder(Decision).decode
_key: Callable[[bytes], KeyRecord] = msgspec.msgpack.Decoder(KeyRecord).decode

_ADD_USAGE: Final = "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (request) DO NOTHING RETURNING 1"
_ADD_TOTAL: Final = """
    INSERT INTO usage_total VALUES (?, ?, ?, 1, ?, ?, ?) ON CONFLICT (tenant, model, outcome) DO UPDATE SET
    requests = requests + 1, input_tokens = input_tokens + excluded.input_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens, output_tokens = output_tokens + excluded.output_tokens
"""


class SqliteStore:
    """`ports.Store` on one SQLite file, which is made when it is missing."""

    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(str(path))
        self._db.set_busy_timeout(BUSY_TIMEOUT_MS)
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "cache_size = -2000"):
            self._db.execute(f"PRAGMA {setting}")
        path.chmod(0o600)
        self._migrate()

    def usage_add(self, rows: Sequence[Usage], marks: Mapping[str, int]) -> int:
        """Insert rows that are not there yet, roll them up, and keep the journals' read positions; all or nothing."""
        new = 0
        with self._transaction():
            for row in rows:
                counted = (row.input_tokens, row.cached_tokens, row.output_tokens)
                place = (row.tenant, row.model, row.outcome)
                if list(self._db.execute(_ADD_USAGE, (row.request, *place, row.ended_us, *counted, _encode(row)))):
                    self._db.execute(_ADD_TOTAL, (*place, *counted))
                    new += 1
            self._db.executemany("INSERT OR REPLACE INTO mark VALUES (?, ?)", list(marks.items()))
        return new

    def usage_get(self, request: str) -> Usage | None:
        """One row by request id; `last` is the newest."""
        if request == "last":
            return next(iter(self.usage_list(limit=1)), None)
        return self._one("SELECT record FROM usage WHERE request = ?", (request,), _usage)

    def usage_list(
        self, *, limit: int, tenant: str | None = None, model: str | None = None, before_us: int = 0
    ) -> list[Usage]:
        """Newest first."""
        query = "SELECT record FROM usage WHERE (?1 IS NULL OR tenant = ?1) AND (?2 IS NULL OR model = ?2)"
        query += " AND (?3 = 0 OR ended_us < ?3) ORDER BY ended_us DESC LIMIT ?4"
        return self._many(query, (tenant, model, before_us, limit), _usage)

    def usage_totals(self) -> list[dict[str, Any]]:
        """Per tenant, model and outcome, since the beginning."""
        names = ("tenant", "model", "outcome", "requests", "input_tokens", "cached_tokens", "output_tokens")
        return [dict(zip(names, row, strict=True)) for row in self._db.execute("SELECT * FROM usage_total")]

    def marks(self) -> dict[str, int]:
        """Bytes read of each journal."""
        return dict(self._db.execute("SELECT file, position FROM mark"))

    def mark_drop(self, file: str) -> None:
        """Forget the position of a journal that was deleted."""
        self._db.execute("DELETE FROM mark WHERE file = ?", (file,))

    def lease_put(self, lease: Lease) -> None:
        """Insert or replace one lease."""
        row = (lease.replica, lease.incarnation, lease.started_us, lease.ended_us, _encode(lease))
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?)", row)

    def lease_list(self, *, open_only: bool = False, limit: int = 1000) -> list[Lease]:
        """Newest first."""
        query = "SELECT record FROM lease WHERE NOT ?1 OR ended_us = 0 ORDER BY started_us DESC LIMIT ?2"
        return self._many(query, (open_only, limit), _lease)

    def decide(self, decision: Decision) -> int:
        """Append to the journal of reasons."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO decision (subject, record) VALUES (?, ?)", (decision.subject, _encode(decision))
            )
            return self._db.last_insert_rowid()

    def decisions(self, *, limit: int, subject: str | None = None, after: int = 0) -> list[Decision]:
        """Newest first when `after` is 0, else those that follow, in order."""
        query = "SELECT seq, record FROM decision WHERE (?1 IS NULL OR subject = ?1) AND seq > ?2 ORDER BY seq "
        rows = self._db.execute(query + ("LIMIT ?3" if after else "DESC LIMIT ?3"), (subject, after, limit))
        return [msgspec.structs.replace(_decision(record), seq=seq) for seq, record in rows]

    def key_put(self, key: KeyRecord) -> None:
        """Insert or replace by id."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO key VALUES (?, ?)", (key.id, _encode(key)))

    def keys(self) -> list[KeyRecord]:
        """All keys, oldest first."""
        return sorted(self._many("SELECT record FROM key", (), _key), key=lambda key: (key.created_us, key.id))

    def put(self, name: str, value: bytes) -> None:
        """Keep one named value."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO value VALUES (?, ?)", (name, value))

    def get(self, name: str) -> bytes | None:
        """The named value."""
        return self._one("SELECT value FROM value WHERE name = ?", (name,), bytes)

    def problems(self) -> list[str]:
        """What SQLite's own check finds; empty when the file is whole."""
        found = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _migrate(self) -> None:
        version = self._db.pragma("user_version")
        if version > len(STEPS):
            raise Permanent(
                f"the database is of schema {version}, this Headrace knows up to {len(STEPS)}; use the newer Headrace"
            )
        for number in range(version, len(STEPS)):
            with self._transaction():
                for statement in STEPS[number].split(";"):
                    if statement.strip():
                        self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number + 1}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._db:
                yield
        except (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.BusyError) as error:
            raise Transient(f"the database cannot be written: {error}", delay_us=RETRY_DELAY_US) from error

    def _many(self, query: str, values: tuple[Any, ...], made: Callable[[bytes], T]) -> list[T]:
        return [made(row[0]) for row in self._db.execute(query, values)]

    def _one(self, query: str, values: tuple[Any, ...], made: Callable[[bytes], T]) -> T | None:
        return next(iter(self._many(query, values, made)), None)
