"""The four sockets: everything that touches the world stands behind one of these.

`Clock` tells the time, `Engine` knows how a kind of model is run, `Substrate` runs processes, `Store` keeps records;
`Journal` is the store's fast end, beside each gateway. Adapters live in engines/, substrates/ and stores/; one
contract suite under tests/contracts/ runs against every adapter of a port.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from headrace.economics.audit import Audit
from headrace.economics.budgets import Budget
from headrace.economics.entries import Entry as LedgerEntry
from headrace.specs.catalog import ModelSpec
from headrace.state.decision import Decision
from headrace.state.fleet import Device, Lease
from headrace.state.table import Ability, Price
from headrace.state.usage import Entry, Usage


class Clock(Protocol):
    """Tells the time. Only shells hold one; brains are given moments."""

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970; for records."""
        ...

    def monotonic_us(self) -> int:
        """Never goes back; for durations and deadlines. On Linux the same for all processes since boot."""
        ...


# --- engines -----------------------------------------------------------------------------------------------------


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """Prepared weights: content-addressed, golden-checked, never changed. `files` maps a role to a name in `path`."""

    digest: str
    path: str
    files: dict[str, str]
    memory_bytes: int
    note: str = ""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """How to start a replica. The process prints one line `{"ready": true, "address": ...}` on its standard output.

    A program that cannot (vllm) has `ready_path` set: it is ready when that path answers 200 at `address`.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    address: str
    ready_path: str = ""


class Engine(Protocol):
    """How a kind of model is run. Everything but `prepare` is a pure function."""

    kind: str

    def ability(self, model: ModelSpec) -> Ability:
        """What replicas of this model can do."""
        ...

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run with this engine here; empty when it can. Looks, but starts nothing."""
        ...

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Fetch, convert or quantise, check the golden question; once, in a process of its own.

        Idempotent: a finished artifact is found by its digest. Raises Permanent with a reason and a fix.
        """
        ...

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:
        """The command of one replica that shall listen on `address` (`unix:/path`), or on loopback `port`."""
        ...


# --- substrates --------------------------------------------------------------------------------------------------


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One process to keep running. `id` carries the spec's digest: a changed spec is a new id.

    `labels` are kept and given back by `workers`, so that a new controller can adopt what runs. `memory_bytes` is an
    upper bound used for the address-space limit where the platform has one.
    """

    id: str
    argv: tuple[str, ...]
    env: dict[str, str] = {}
    address: str = ""
    ready_path: str = ""
    start_timeout_us: int = 120_000_000
    fast_crashes_max: int = 3
    memory_bytes: int = 0
    labels: dict[str, str] = {}


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker is doing. `incarnation` is new at every start of its process; late news of an old one is dropped.

    Moments in microseconds of the wall clock. `exit` says how the last incarnation ended.
    """

    id: str
    phase: Literal["pending", "starting", "ready", "failed", "stopped"]
    incarnation: str = ""
    address: str = ""
    pid: int = 0
    restarts: int = 0
    started_us: int = 0
    ready_us: int = 0
    reason: str = ""
    labels: dict[str, str] = {}


class Substrate(Protocol):
    """Runs workers. `launch` and `stop` are idempotent by id; restart with back-off is the substrate's own."""

    async def start(self) -> None:
        """Connect. Workers launched before, by whomever, are found by `workers`."""
        ...

    async def close(self) -> None:
        """Let go of the workers; they run on."""
        ...

    async def devices(self) -> list[Device]:
        """What the substrate sees by itself: at least one CPU device. Pools of the catalog refine it."""
        ...

    async def launch(self, spec: WorkerSpec) -> None:
        """Returns when the wish is recorded, not when the worker is ready."""
        ...

    async def stop(self, worker: str, grace_us: int) -> None:
        """SIGTERM, then SIGKILL after the grace; forgets the worker. Returns at once; `watch` tells the end."""
        ...

    async def kill(self, worker: str, incarnation: str, reason: str) -> None:
        """SIGKILL one incarnation, which is hung; the substrate starts the next one."""
        ...

    async def workers(self) -> list[WorkerStatus]:
        """The truth, for reconciliation."""
        ...

    def watch(self) -> AsyncIterator[WorkerStatus]:
        """All workers first, then changes; may repeat and skip, never goes back in incarnation."""
        ...

    async def logs(self, worker: str, tail: int = 200) -> list[str]:
        """The last lines the worker printed."""
        ...


# --- stores ------------------------------------------------------------------------------------------------------


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


class Journal(Protocol):
    """A gateway's durable end: append-only, group commit, one file a worker process."""

    def append(self, entry: Entry, committed: Callable[[bool], None] | None = None) -> None:
        """Append; `committed(True)` is called in the caller's loop once it is on disk, `False` if it cannot be."""
        ...

    async def close(self) -> None:
        """Commit what is pending and close."""
        ...


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the first request of an Idempotency-Key. `body` is its answer, None when that was not kept."""

    digest: str
    request: str
    done: bool
    body: bytes | None = None


class Repeats(Protocol):
    """Requests that must not be done twice, remembered for a day by all gateways of this machine."""

    def begin(self, name: str, digest: str, request: str, now_us: int) -> Repeat | None:
        """None: the caller does the work, and says `done` or `drop`. Else what is known of the first one."""
        ...

    def done(self, name: str, digest: str, request: str, now_us: int, body: bytes | None) -> None:
        """The answer, or None when it was a stream."""
        ...

    def drop(self, name: str) -> None:
        """It came to nothing: the next one may try."""
        ...

    def sweep(self, now_us: int) -> None:
        """Forget what is older than a day."""
        ...


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

    def audit(self) -> Audit:
        """Prove the books. Reads on an own connection, so it may run in a thread beside everything else."""
        ...

    def backup(self, folder: Path) -> Path:
        """Copy everything into a folder; reads on an own connection, so it may run in a thread."""
        ...

    def usage_since(self, ended_us: int, limit: int = 1_000_000) -> list[Usage]:
        """Rows that ended at that moment or later, oldest first."""
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
