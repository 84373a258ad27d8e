"""Who keeps records, and what the books say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from headrace.economics.audit import Audit
from headrace.economics.budgets import Budget
from headrace.economics.entries import Entry as LedgerEntry
from headrace.state.decision import Decision
from headrace.state.fleet import Lease
from headrace.state.table import Price
from headrace.state.usage import Usage


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """What one device of a pool costs from a moment on. `basis` says how: on_demand, reserved, amortised."""

    pool: str
    from_us: int
    nanousd_per_hour: int
    basis: str = "on_demand"


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key as it is kept: never the secret. `digest` is hex HMAC-SHA-256 under the pepper. `revoked_us` 0 is valid."""

    id: str
    digest: str
    tenant: str
    role: str
    name: str = ""
    team: str = ""
    models: tuple[str, ...] = ("*",)
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    created_us: int = 0
    revoked_us: int = 0


class Statements(Protocol):
    """What the books say, from roll-ups of fixed size. Times in microseconds, from inclusive, to exclusive."""

    def spend(self, by: tuple[str, ...], from_us: int, to_us: int, tenant: str | None = None) -> list[dict[str, Any]]:
        """Sums of amount, charge_nanousd and cost_nanousd, grouped; requests are counted when `unit` is no group."""
        ...

    def balances(self, from_us: int, to_us: int) -> dict[str, int]:
        """What moved in each account."""
        ...

    def hourly(self, account: str, from_us: int, to_us: int) -> dict[int, int]:
        """One account by hour."""
        ...

    def entries(self, subject: str) -> list[LedgerEntry]:
        """Everything about one request or lease, in order."""
        ...

    def after(self, seq: int, limit: int) -> list[tuple[int, LedgerEntry]]:
        """Entries in order, with their numbers."""
        ...

    def head(self) -> tuple[int, str]:
        """How many entries there are, and the hash of the last one, hex; 0 and nothing when there is none."""
        ...

    def booked(self) -> dict[str, int]:
        """Until when each device's time is in the books."""
        ...

    def prices(self) -> list[Price]:
        """Every price there was, oldest first."""
        ...

    def price(self, name: str) -> Price | None:
        """The price of that id."""
        ...

    def rates(self) -> list[Rate]:
        """What devices cost, oldest first."""
        ...

    def budgets(self) -> list[Budget]:
        """Those that were set by an administrator."""
        ...

    def budget_spent(self) -> dict[str, dict[str, int]]:
        """By budget id and gateway epoch; "" is all gateways that are gone."""
        ...


class Store(Protocol):
    """Keeps records. One writer. Every call is one durable transaction. Raises Transient when the disk is full."""

    def usage_add(self, rows: Sequence[Usage], marks: Mapping[str, int]) -> int:
        """Insert rows not there yet (by request id) and the journals' read positions, together; how many were new."""
        ...

    def usage_get(self, request: str) -> Usage | None:
        """One row; `last` gives the newest."""
        ...

    def usage_list(
        self, *, limit: int, tenant: str | None = None, model: str | None = None, before_us: int = 0
    ) -> list[Usage]:
        """Newest first; rows that ended before `before_us` when it is not 0."""
        ...

    def usage_labelled(self, label: str, *, since_us: int, limit: int, tenant: str | None = None) -> list[Usage]:
        """Rows whose label begins with that and that ended at that moment or later, oldest first."""
        ...

    def usage_totals(self) -> list[dict[str, Any]]:
        """Per tenant, model and outcome: requests and tokens since the beginning."""
        ...

    def marks(self) -> dict[str, int]:
        """How far each journal has been read, bytes by file name."""
        ...

    def mark_drop(self, file: str) -> None:
        """Forget the position of a journal that is gone."""
        ...

    def lease_put(self, lease: Lease) -> None:
        """Insert or replace one lease by (replica, incarnation)."""
        ...

    def lease_list(self, *, open_only: bool = False, limit: int = 1000) -> list[Lease]:
        """Newest first."""
        ...

    def leases_since(self, ended_us: int) -> list[Lease]:
        """Those that are open, or ended at that moment or later."""
        ...

    def decide(self, decision: Decision) -> int:
        """Append to the journal of reasons; its sequence number."""
        ...

    def decisions(self, *, limit: int, subject: str | None = None, after: int = 0) -> list[Decision]:
        """Newest first when `after` is 0, else those with a larger sequence number in order."""
        ...

    def key_put(self, key: KeyRecord) -> None:
        """Insert or replace by id."""
        ...

    def keys(self) -> list[KeyRecord]:
        """All, revoked ones included."""
        ...

    # the books

    def book(
        self, device: str, until_us: int, entries: Sequence[LedgerEntry], costs: Sequence[tuple[Usage, int]]
    ) -> int:
        """One device's time up to a moment: its entries, its requests' costs, and the mark, together."""
        ...

    def post(self, entries: Sequence[LedgerEntry]) -> int:
        """Append entries that are not there yet; how many were new."""
        ...

    def terms(
        self,
        *,
        prices: Sequence[Price] = (),
        rates: Sequence[Rate] = (),
        budgets: Sequence[Budget] = (),
        without: Sequence[Budget] = (),
        withdrawn: Sequence[Price | Rate] = (),
    ) -> None:
        """Keep prices and rates from their moments on; set budgets, and forget those in `without`.

        `withdrawn` are prices and rates that have not begun and shall not begin.
        """
        ...

    def epoch_ended(self, epoch: str) -> None:
        """A gateway is gone and settled: its part in budgets is nobody's in particular any more."""
        ...

    @property
    def statements(self) -> Statements:
        """What the books say."""
        ...

    def audit(self, heads: Mapping[int, str]) -> Audit:
        """Prove the books, and that they still hold what was noted of them: hashes, hex, by the number of entries.

        Reads on an own connection, so it may run in a thread beside everything else.
        """
        ...

    def backup(self, folder: Path) -> Path:
        """Copy everything into a folder; reads on an own connection, so it may run in a thread."""
        ...

    def usage_since(self, ended_us: int, limit: int = 1_000_000) -> list[Usage]:
        """Rows that ended at that moment or later, oldest first."""
        ...

    def work_by_slot(self, from_us: int, slot_us: int) -> dict[str, list[tuple[int, int, int, int]]]:
        """By model: slot since `from_us`, requests that ended in it with work done, their input and output tokens.

        Reads on an own connection, so it may run in a thread beside everything else.
        """
        ...

    def put(self, name: str, value: bytes) -> None:
        """Keep one named value, e.g. the catalog."""
        ...

    def get(self, name: str) -> bytes | None:
        """The named value."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...
