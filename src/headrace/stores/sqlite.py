"""The store on one machine: SQLite in write-ahead mode with full sync, one connection, one writer.

Held by the controller alone; `headrace up` opens it for a moment before the controller lives. Records are msgpack
beside the columns that are searched by, so that a field can be added to a record without a step of the schema.
Nothing here decides anything, and no SQL is built from what a caller gives.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import msgspec

from headrace.economics.audit import Audit
from headrace.economics.budgets import Budget
from headrace.economics.entries import Entry
from headrace.errors import Permanent, Transient
from headrace.ports import KeyRecord, Rate
from headrace.state.decision import Decision
from headrace.state.fleet import Lease
from headrace.state.table import Price
from headrace.state.usage import Usage
from headrace.stores import look_back
from headrace.stores.audit import audit
from headrace.stores.backup import backup
from headrace.stores.ledger import Ledger
from headrace.stores.schema import STEPS
from headrace.stores.statements import Statements

BUSY_TIMEOUT_MS: Final = 5_000
RETRY_DELAY_US: Final = 1_000_000
T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode
_usage: Callable[[bytes], Usage] = msgspec.msgpack.Decoder(Usage).decode
_lease: Callable[[bytes], Lease] = msgspec.msgpack.Decoder(Lease).decode
_decision: Callable[[bytes], Decision] = msgspec.msgpack.Decoder(Decision).decode
_key: Callable[[bytes], KeyRecord] = msgspec.msgpack.Decoder(KeyRecord).decode

_PASSING: Final = (
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.BusyError,
    apsw.ReadOnlyError,
    apsw.NoMemError,
)
_BROKEN: Final = (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError, msgspec.DecodeError)
_SETTINGS: Final = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "cache_size = -2000")
_ADD_USAGE: Final = "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (request) DO NOTHING"
_ADD_TOTAL: Final = """
    INSERT INTO usage_total VALUES (?, ?, ?, 1, ?, ?, ?) ON CONFLICT (tenant, model, outcome) DO UPDATE SET
    requests = requests + 1, input_tokens = input_tokens + excluded.input_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens, output_tokens = output_tokens + excluded.output_tokens
"""
# Which column narrows a listing decides the index; `?1 IS NULL OR ...` in one query would scan.
_LIST_USAGE: Final = {
    (False, False): "SELECT record FROM usage WHERE ended_us < ?3 ORDER BY ended_us DESC LIMIT ?4",
    (True, False): "SELECT record FROM usage WHERE tenant = ?1 AND ended_us < ?3 ORDER BY ended_us DESC LIMIT ?4",
    (False, True): "SELECT record FROM usage WHERE model = ?2 AND ended_us < ?3 ORDER BY ended_us DESC LIMIT ?4",
    (True, True): (
        "SELECT record FROM usage WHERE tenant = ?1 AND model = ?2 AND ended_us < ?3 ORDER BY ended_us DESC LIMIT ?4"
    ),
}
_LABELLED: Final = {
    False: "SELECT record FROM usage WHERE ended_us >= ?1 AND instr(record, ?2) ORDER BY ended_us LIMIT ?4",
    True: (
        "SELECT record FROM usage WHERE tenant = ?3 AND ended_us >= ?1 AND instr(record, ?2) ORDER BY ended_us LIMIT ?4"
    ),
}
_ALWAYS_US: Final = (1 << 63) - 1
_TOTALS: Final = "SELECT tenant, model, outcome, requests, input_tokens, cached_tokens, output_tokens FROM usage_total"
_SUMS: Final = """
    SELECT tenant, model, outcome, count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens)
    FROM usage GROUP BY tenant, model, outcome
"""


class SqliteStore:
    """`ports.Store` on one SQLite file, which is made when it is missing."""

    def __init__(self, path: Path) -> None:
        """Raises Transient when the disk is full or busy, Permanent when the file is damaged or of a later schema."""
        self._path = path
        with self._told(f"the database {path}"):
            self._db = apsw.Connection(str(path))
        try:
            with self._told(f"the database {path}"):
                self._db.set_busy_timeout(BUSY_TIMEOUT_MS)
                path.chmod(0o600)
                for setting in _SETTINGS:
                    self._db.execute(f"PRAGMA {setting}")
                self._migrate()
        except (Transient, Permanent):
            self._db.close()
            raise
        self._ledger = Ledger(self._db)
        self._prices: dict[str, Price] = {}  # by id; a price never changes under its id
        self.statements = Statements(self._rows, self._many)

    # --- usage --------------------------------------------------------------------------------------------------

    def usage_add(self, rows: Sequence[Usage], marks: Mapping[str, int]) -> int:
        """Insert rows that are not there yet, charge them, roll them up, and keep the journals' read positions."""
        new: list[Usage] = []
        with self._transaction():
            for row in rows:
                counted = (row.input_tokens, row.cached_tokens, row.output_tokens)
                place = (row.tenant, row.model, row.outcome)
                self._db.execute(_ADD_USAGE, (row.request, *place, row.ended_us, *counted, _encode(row)))
                if self._db.changes():
                    self._db.execute(_ADD_TOTAL, (*place, *counted))
                    new.append(row)
            self._ledger.charged(new, {row.price: price for row in new if (price := self._price(row.price))})
            self._db.executemany("INSERT OR REPLACE INTO mark VALUES (?, ?)", list(marks.items()))
        return len(new)

    def _price(self, name: str) -> Price | None:
        if name not in self._prices and name and (found := self.statements.price(name)) is not None:
            self._prices[name] = found
        return self._prices.get(name)

    def usage_get(self, request: str) -> Usage | None:
        """One row by request id; `last` is the newest."""
        if request == "last":
            return next(iter(self.usage_list(limit=1)), None)
        return self._one("SELECT record FROM usage WHERE request = ?", (request,), _usage)

    def usage_list(
        self, *, limit: int, tenant: str | None = None, model: str | None = None, before_us: int = 0
    ) -> list[Usage]:
        """Newest first."""
        query = _LIST_USAGE[tenant is not None, model is not None]
        return self._many(query, (tenant, model, before_us or _ALWAYS_US, limit), _usage)

    def usage_labelled(self, label: str, *, since_us: int, limit: int, tenant: str | None = None) -> list[Usage]:
        """Oldest first. The label is looked for in the records as they are kept, which is quick, and then in them."""
        query = _LABELLED[tenant is not None]
        found = self._many(query, (since_us, label.encode(), tenant or "", limit), _usage)
        return [row for row in found if row.label.startswith(label)]

    def usage_totals(self) -> list[dict[str, Any]]:
        """Per tenant, model and outcome, since the beginning."""
        names = ("tenant", "model", "outcome", "requests", "input_tokens", "cached_tokens", "output_tokens")
        return [dict(zip(names, row, strict=True)) for row in self._rows(_TOTALS, ())]

    def marks(self) -> dict[str, int]:
        """Bytes read of each journal."""
        return dict(self._rows("SELECT file, position FROM mark", ()))

    def mark_drop(self, file: str) -> None:
        """Forget the position of a journal that was deleted."""
        self._write("DELETE FROM mark WHERE file = ?", (file,))

    def usage_since(self, ended_us: int, limit: int = 1_000_000) -> list[Usage]:
        """Oldest first."""
        query = "SELECT record FROM usage WHERE ended_us >= ? ORDER BY ended_us LIMIT ?"
        return self._many(query, (ended_us, limit), _usage)

    def work_by_slot(self, from_us: int, slot_us: int) -> dict[str, list[tuple[int, int, int, int]]]:
        """On an own connection. Raises Transient when the file cannot be read just now."""
        with self._told("the database"):
            return look_back.work_by_slot(self._path, from_us, slot_us)

    # --- the books ----------------------------------------------------------------------------------------------

    def book(self, device: str, until_us: int, entries: Sequence[Entry], costs: Sequence[tuple[Usage, int]]) -> int:
        """One device's time up to a moment; all or nothing. Booked once, however often it is asked."""
        with self._transaction():
            if self.statements.booked().get(device, 0) >= until_us:
                return 0
            new = self._ledger.post(entries)
            self._ledger.costed(costs)
            self._ledger.booked(device, until_us)
            return new

    def post(self, entries: Sequence[Entry]) -> int:
        """Append entries that are not there yet."""
        with self._transaction():
            return self._ledger.post(entries)

    def terms(
        self,
        *,
        prices: Sequence[Price] = (),
        rates: Sequence[Rate] = (),
        budgets: Sequence[Budget] = (),
        without: Sequence[Budget] = (),
        withdrawn: Sequence[Price | Rate] = (),
    ) -> None:
        """Prices, rates and budgets, from now on."""
        with self._transaction():
            for term in withdrawn:
                self._ledger.withdraw(term)
            for price in prices:
                self._ledger.price(price)
            for rate in rates:
                self._ledger.rate(rate)
            for budget in budgets:
                self._ledger.budget(budget)
            for budget in without:
                self._ledger.budget(budget, remove=True)

    def audit(self, heads: Mapping[int, str]) -> Audit:
        """Read every entry once, on an own connection. Raises Transient when the file cannot be read just now."""
        with self._told("the database"):
            return audit(self._path, heads)

    def backup(self, folder: Path) -> Path:
        """A whole copy, on own connections."""
        return backup(self._path, folder)

    def epoch_ended(self, epoch: str) -> None:
        """A gateway is gone and settled."""
        with self._transaction():
            self._ledger.epoch_ended(epoch)

    # --- leases, decisions, keys, values ------------------------------------------------------------------------

    def lease_put(self, lease: Lease) -> None:
        """Insert or replace one lease."""
        row = (lease.replica, lease.incarnation, lease.started_us, lease.ended_us, _encode(lease))
        self._write("INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?)", row)

    def lease_list(self, *, open_only: bool = False, limit: int = 1000) -> list[Lease]:
        """Newest first."""
        which = "WHERE ended_us = 0 " if open_only else ""
        return self._many(f"SELECT record FROM lease {which}ORDER BY started_us DESC LIMIT ?", (limit,), _lease)  # noqa: S608 - one of two literals

    def leases_since(self, ended_us: int) -> list[Lease]:
        """Those that are open, or ended at that moment or later."""
        query = "SELECT record FROM lease WHERE ended_us = 0 OR ended_us >= ? ORDER BY started_us"
        return self._many(query, (ended_us,), _lease)

    def decide(self, decision: Decision) -> int:
        """Append to the journal of reasons; the entry's sequence number."""
        row = (decision.subject, _encode(decision))
        with self._transaction():
            self._db.execute("INSERT INTO decision (subject, record) VALUES (?, ?)", row)
            return self._db.last_insert_rowid()

    def decisions(self, *, limit: int, subject: str | None = None, after: int = 0) -> list[Decision]:
        """Newest first when `after` is 0, else those that follow, in order."""
        which = "" if subject is None else "subject = ?1 AND "
        order = "" if after else "DESC "
        query = f"SELECT seq, record FROM decision WHERE {which}seq > ?2 ORDER BY seq {order}LIMIT ?3"  # noqa: S608 - literals
        rows = self._rows(query, (subject, after, limit))
        with self._told("the database"):
            return [msgspec.structs.replace(_decision(record), seq=seq) for seq, record in rows]

    def key_put(self, key: KeyRecord) -> None:
        """Insert or replace by id."""
        self._write("INSERT OR REPLACE INTO key VALUES (?, ?)", (key.id, _encode(key)))

    def keys(self) -> list[KeyRecord]:
        """All keys, oldest first."""
        return sorted(self._many("SELECT record FROM key", (), _key), key=lambda key: (key.created_us, key.id))

    def put(self, name: str, value: bytes) -> None:
        """Keep one named value."""
        self._write("INSERT OR REPLACE INTO value VALUES (?, ?)", (name, value))

    def get(self, name: str) -> bytes | None:
        """The named value."""
        return self._one("SELECT value FROM value WHERE name = ?", (name,), bytes)

    # --- the file -----------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What is wrong with the file: SQLite's own check, and totals that are not the sum of their rows."""
        with self._told("the database"), self._db:  # one state of the database, whoever writes meanwhile
            found = [str(row[0]) for row in self._rows("PRAGMA integrity_check", ())]
            if found != ["ok"]:
                return found
            totals, sums = set(self._rows(_TOTALS, ())), set(self._rows(_SUMS, ()))
        return [f"the total {total} is not the sum of its rows" for total in sorted(totals ^ sums)]

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
                self._db.execute(STEPS[number])
                self._db.execute(f"PRAGMA user_version = {number + 1}")

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._transaction():
            self._db.execute(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._told("the database"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:  # not committed; when the disk is full SQLite has rolled back itself
                    self._db.execute("ROLLBACK")

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """SQLite's errors in the words of `errors`."""
        try:
            yield
        except _PASSING as error:
            raise Transient(f"{what} cannot be used now: {error}", delay_us=RETRY_DELAY_US) from error
        except _BROKEN as error:
            raise Permanent(f"{what} is damaged: {error}; restore it from a backup, or move it away") from error

    def _rows(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._told("the database"):
            return list(self._db.execute(query, values))

    def _many(self, query: str, values: tuple[Any, ...], made: Callable[[bytes], T]) -> list[T]:
        with self._told("the database"):
            return [made(row[0] or b"") for row in self._db.execute(query, values)]  # NULL is damage, and no record

    def _one(self, query: str, values: tuple[Any, ...], made: Callable[[bytes], T]) -> T | None:
        return next(iter(self._many(query, values, made)), None)
