"""The ledger's entries: double, append-only, idempotent by their id, chained by their hashes.

Each entry moves a whole number of nano-dollars from one account to another, so all balances add up to 0 at any moment.
A correction is a reversing entry; nothing is ever changed. Accounts are few (tenants, models, pools), never one a
request; what an entry is about stands in its `subject`.

    owed/POOL             what devices cost us            used/TENANT/MODEL   what requests took of it
    load|idle|drain|sleep|failed/MODEL, free|fragment/POOL      time that no request took, by cause
    borne/TENANT/CAUSE    overhead moved to a tenant      moved/CAUSE/MODEL   its other side: the cause stays visible
    due/TENANT            what tenants owe us             revenue/MODEL       what we charged for
"""

import hashlib
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from headrace.economics.booking import Part
from headrace.state.usage import Usage

Book = Literal["cost", "price"]
ID_BYTES: Final = 16
HASH_BYTES: Final = 32
FIRST_HASH: Final = bytes(HASH_BYTES)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One transfer. `hour_us` is the hour it counts for in the roll-ups; `kind` a charge, a cost's cause, or a move."""

    id: bytes
    at_us: int
    hour_us: int
    book: Book
    kind: str
    debit: str
    credit: str
    nanousd: int
    subject: str = ""
    note: str = ""


HOUR_US: Final = 3_600_000_000


def hour_of(moment_us: int) -> int:
    """The beginning of its hour.

    >>> hour_of(3_600_000_001)
    3600000000
    """
    return moment_us - moment_us % HOUR_US


def entry_id(*said: str | int) -> bytes:
    """Names an entry by what it is about, so that posting it twice posts it once."""
    return hashlib.blake2b("\x00".join(map(str, said)).encode(), digest_size=ID_BYTES).digest()


def chained(before: bytes, entry: Entry) -> bytes:
    """The hash of an entry, over all it says and the hash of the one before: one changed byte breaks the chain."""
    said = "\x00".join(
        (
            str(entry.at_us), str(entry.hour_us), entry.book, entry.kind, entry.debit, entry.credit,
            str(entry.nanousd), entry.subject, entry.note,
        )
    )  # fmt: skip
    return linked(before, entry.id, said.encode())


def linked(before: bytes, name: bytes, said: bytes) -> bytes:
    """One link of the chain, over bytes as they are kept: an audit reads what may not be text any more."""
    return hashlib.sha256(before + name + said).digest()


def charge(row: Usage) -> Entry | None:
    """What a request is charged; None when that is nothing."""
    if not row.charge_nanousd:
        return None
    return Entry(
        id=entry_id("charge", row.request),
        at_us=row.ended_us,
        hour_us=hour_of(row.ended_us),
        book="price",
        kind="charge",
        debit=f"due/{row.tenant}",
        credit=f"revenue/{row.model}@{row.version or '?'}",
        nanousd=row.charge_nanousd,
        subject=row.request,
        note=row.price,
    )


def cost(part: Part, *, pool: str, device: str, from_us: int, to_us: int, hour_us: int, tenant: str) -> Entry:
    """One part of a device's booking. `tenant` is whose request it is, empty for overheads."""
    account = {
        "request": f"used/{tenant}/{part.model}",
        "free": f"free/{pool}",
        "fragment": f"fragment/{pool}",
    }.get(part.cause, f"{part.cause}/{part.model}")
    return Entry(
        id=entry_id("cost", device, from_us, to_us, part.cause, part.subject, part.lease),
        at_us=to_us,
        hour_us=hour_us,
        book="cost",
        kind=part.cause,
        debit=account,
        credit=f"owed/{pool}",
        nanousd=part.nanousd,
        subject=part.subject,
        note=f"{part.lease} own {part.own_nanousd} time {part.time_us}",
    )


def reversal(entry: Entry, at_us: int, why: str) -> Entry:
    """Takes an entry back: the same amount the other way, in the hour of the correction."""
    return Entry(
        id=entry_id("reversal", entry.id.hex()),
        at_us=at_us,
        hour_us=hour_of(at_us),
        book=entry.book,
        kind="reversal",
        debit=entry.credit,
        credit=entry.debit,
        nanousd=entry.nanousd,
        subject=entry.subject,
        note=why,
    )


def balances(entries: Iterable[Entry]) -> dict[str, int]:
    """What each account holds; the sum over all accounts is 0.

    >>> one = Entry(id=b"", at_us=0, hour_us=0, book="cost", kind="idle", debit="idle/m", credit="owed/p", nanousd=5)
    >>> balances([one])
    {'idle/m': 5, 'owed/p': -5}
    """
    found: dict[str, int] = {}
    for entry in entries:
        found[entry.debit] = found.get(entry.debit, 0) + entry.nanousd
        found[entry.credit] = found.get(entry.credit, 0) - entry.nanousd
    return found
