"""Proves the books, or says what is wrong: chain, sums, roll-ups, charges. Reads only, by an own connection.

Called in a thread of the controller and by tests; what it finds is for people, and nothing is repaired.
"""

from pathlib import Path
from typing import Any, Final

import apsw

from headrace.economics.audit import Audit
from headrace.economics.entries import FIRST_HASH, Entry, chained

FOUND_MAX: Final = 20
_CHECKS: Final = {
    "balances are the sums of entries": """
        SELECT account, hour_us, sum(nanousd) FROM (
            SELECT debit AS account, hour_us, nanousd FROM entry UNION ALL
            SELECT credit, hour_us, -nanousd FROM entry UNION ALL
            SELECT account, hour_us, -nanousd FROM balance
        ) GROUP BY account, hour_us HAVING sum(nanousd) <> 0 LIMIT 20
    """,
    "all balances together are nothing": "SELECT sum(nanousd) FROM balance HAVING sum(nanousd) <> 0",
    "charges are those of the usage records": """
        SELECT hour_us, tenant, sum(a) FROM (
            SELECT hour_us, tenant, charge_nanousd AS a FROM spend WHERE unit = '' UNION ALL
            SELECT hour_us, substr(debit, 5), -nanousd FROM entry WHERE kind = 'charge'
        ) GROUP BY hour_us, tenant HAVING sum(a) <> 0 LIMIT 20
    """,
    "days are the sums of their hours": """
        SELECT day_us, tenant, unit, sum(a) FROM (
            SELECT hour_us - hour_us % 86400000000 AS day_us, tenant, unit, amount + charge_nanousd + cost_nanousd AS a
            FROM spend UNION ALL
            SELECT day_us, tenant, unit, -amount - charge_nanousd - cost_nanousd FROM spend_day
        ) GROUP BY day_us, tenant, unit HAVING sum(a) <> 0 LIMIT 20
    """,
    "costs of requests are those of the ledger": """
        SELECT sum(a) FROM (
            SELECT cost_nanousd AS a FROM spend WHERE unit = '' UNION ALL
            SELECT -nanousd FROM entry WHERE kind = 'request'
        ) HAVING sum(a) <> 0
    """,
    "each charge has one usage record": """
        SELECT subject FROM entry WHERE kind = 'charge'
        AND NOT EXISTS (SELECT 1 FROM usage WHERE request = subject) LIMIT 20
    """,
}


def audit(path: Path) -> Audit:
    """Read every entry once. Raises apsw.Error when the file cannot be read at all."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        with db:  # one state of the database, however much is written meanwhile
            found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(5)") if row[0] != "ok"]
            count, head, total, broken = _chain(db)
            found += broken
            for name, query in _CHECKS.items():
                found += [f"not so: {name}: {_told(row)}" for row in db.execute(query)]
    except (apsw.CorruptError, apsw.NotADBError) as error:
        return Audit(ok=False, entries=0, head="", found=(f"the database is damaged: {error}",))
    finally:
        db.close()
    return Audit(ok=not found, entries=count, head=head.hex(), found=tuple(found[:FOUND_MAX]), total_nanousd=total)


def _chain(db: apsw.Connection) -> tuple[int, bytes, int, list[str]]:
    query = (
        "SELECT seq, hash, id, at_us, hour_us, book, kind, debit, credit, nanousd, subject, note "
        "FROM entry ORDER BY seq"
    )
    before, count, total = FIRST_HASH, 0, 0
    for seq, made, name, at_us, hour_us, book, kind, debit, credit, nanousd, subject, note in db.execute(query):
        entry = Entry(
            id=bytes(name), at_us=at_us, hour_us=hour_us, book=book, kind=kind, debit=debit, credit=credit,
            nanousd=nanousd, subject=subject, note=note,
        )  # fmt: skip
        count += 1
        total += nanousd if book == "cost" and kind != "move" else 0
        if seq != count:
            return count, before, total, [f"entry {count} is missing: the next one is {seq}"]
        if chained(before, entry) != bytes(made):
            return count, before, total, [f"the chain breaks at entry {seq}, about {subject or debit}: it was changed"]
        before = bytes(made)
    return count, before, total, []


def _told(row: tuple[Any, ...]) -> str:
    return ", ".join(map(str, row))
