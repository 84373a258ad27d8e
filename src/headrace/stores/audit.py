"""Proves the books, or says what is wrong: chain, sums, roll-ups, charges. Reads only, by an own connection.

Called in a thread of the controller and by tests; what it finds is for people, and nothing is repaired. Texts are read
as bytes: a damaged one need not be text, and is a finding like any other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from headrace.economics.audit import Audit
from headrace.economics.entries import FIRST_HASH, entry_id, linked

FOUND_MAX: Final = 20
_PLACE: Final = "tenant, team, key, model, version, task, unit"
_MODEL: Final = "model, version, task, unit"
_CHECKS: Final = {
    "balances are the sums of entries": """
        SELECT CAST(account || ', ' || hour_us || ', ' || sum(nanousd) AS BLOB) FROM (
            SELECT debit AS account, hour_us, nanousd FROM entry UNION ALL
            SELECT credit, hour_us, -nanousd FROM entry UNION ALL
            SELECT account, hour_us, -nanousd FROM balance
        ) GROUP BY account, hour_us HAVING sum(nanousd) <> 0 LIMIT 20
    """,
    "all balances together are nothing": "SELECT CAST(sum(nanousd) AS BLOB) FROM balance HAVING sum(nanousd) <> 0",
    "charges are those of the usage records": """
        SELECT CAST(hour_us || ', ' || tenant || ', ' || sum(a) AS BLOB) FROM (
            SELECT hour_us, tenant, charge_nanousd AS a FROM spend WHERE unit = '' UNION ALL
            SELECT hour_us, substr(debit, 5), -nanousd FROM entry WHERE kind = 'charge'
        ) GROUP BY hour_us, tenant HAVING sum(a) <> 0 LIMIT 20
    """,
    "days are the sums of their hours": f"""
        SELECT CAST(day_us || ', ' || tenant || ', ' || model || ', ' || unit AS BLOB) FROM (
            SELECT hour_us - hour_us % 86400000000 AS day_us, {_PLACE},
            amount AS a, charge_nanousd AS b, cost_nanousd AS c FROM spend UNION ALL
            SELECT day_us, {_PLACE}, -amount, -charge_nanousd, -cost_nanousd FROM spend_day
        ) GROUP BY day_us, {_PLACE} HAVING sum(a) <> 0 OR sum(b) <> 0 OR sum(c) <> 0 LIMIT 20
    """,  # noqa: S608 - literals
    "models are the sums of their days": f"""
        SELECT CAST(day_us || ', ' || model || ', ' || unit AS BLOB) FROM (
            SELECT day_us, {_MODEL}, amount AS a, charge_nanousd AS b, cost_nanousd AS c FROM spend_day UNION ALL
            SELECT day_us, {_MODEL}, -amount, -charge_nanousd, -cost_nanousd FROM spend_model
        ) GROUP BY day_us, {_MODEL} HAVING sum(a) <> 0 OR sum(b) <> 0 OR sum(c) <> 0 LIMIT 20
    """,  # noqa: S608 - literals
    "costs of requests are those of the ledger": """
        SELECT CAST(account || ', ' || sum(a) AS BLOB) FROM (
            SELECT 'used/' || tenant || '/' || model || '@' || version AS account, cost_nanousd AS a
            FROM spend WHERE unit = '' UNION ALL
            SELECT debit, -nanousd FROM entry WHERE kind = 'request'
        ) GROUP BY account HAVING sum(a) <> 0 LIMIT 20
    """,
    "each charge has one usage record": """
        SELECT CAST(subject AS BLOB) FROM entry WHERE kind = 'charge'
        AND NOT EXISTS (SELECT 1 FROM usage WHERE request = subject) LIMIT 20
    """,
    "totals are the sums of the usage records": """
        SELECT CAST(tenant || ', ' || model || ', ' || outcome AS BLOB) FROM (
            SELECT tenant, model, outcome, 1 AS a, input_tokens AS b, cached_tokens AS c, output_tokens AS d
            FROM usage UNION ALL
            SELECT tenant, model, outcome, -requests, -input_tokens, -cached_tokens, -output_tokens FROM usage_total
        ) GROUP BY tenant, model, outcome
        HAVING sum(a) <> 0 OR sum(b) <> 0 OR sum(c) <> 0 OR sum(d) <> 0 LIMIT 20
    """,
}
_CHAIN: Final = """
    SELECT seq, CAST(hash AS BLOB), CAST(id AS BLOB), CAST(at_us AS BLOB), CAST(hour_us AS BLOB), CAST(book AS BLOB),
    CAST(kind AS BLOB), CAST(debit AS BLOB), CAST(credit AS BLOB), CAST(nanousd AS BLOB), CAST(subject AS BLOB),
    CAST(note AS BLOB) FROM entry ORDER BY seq
"""
_BUDGETS: Final = "SELECT CAST(budget AS BLOB), sum(nanousd) FROM budget_spent GROUP BY budget"
# What cannot be read just now; anything else that SQLite cannot do with the file says that the file is damaged.
_PASSING: Final = (apsw.CantOpenError, apsw.IOError, apsw.BusyError, apsw.LockedError, apsw.NoMemError, apsw.FullError)


class _Charged(msgspec.Struct, frozen=True, tag="usage"):
    """What the books need of a usage record."""

    request: str
    charge_nanousd: int = 0
    budgets: tuple[str, ...] = ()


def audit(path: Path, heads: Mapping[int, str] = {}) -> Audit:
    """Read every entry once. Raises apsw.Error when the file cannot be read just now.

    `heads` are hashes that were noted outside the database, hex, by the number of entries then.
    """
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        with db:  # one state of the database, however much is written meanwhile
            found = [line for row in db.execute("PRAGMA integrity_check(5)") if (line := _told(row)) != "ok"]
            count, head, total, broken = _chain(db, heads)
            found += [*broken, *_charges(db)]
            for name, query in _CHECKS.items():
                found += [f"not so: {name}: {_told(row)}" for row in db.execute(query)]
    except _PASSING:
        raise
    except (apsw.Error, UnicodeDecodeError) as error:  # names of tables need not be text either
        return Audit(ok=False, entries=0, head="", found=(f"the database is damaged: {error}",))
    finally:
        db.close()
    return Audit(ok=not found, entries=count, head=head.hex(), found=tuple(found[:FOUND_MAX]), total_nanousd=total)


def _chain(db: apsw.Connection, heads: Mapping[int, str]) -> tuple[int, bytes, int, list[str]]:
    before, count, total = FIRST_HASH, 0, 0
    noted = {number: bytes.fromhex(head) for number, head in heads.items()}
    broken: list[str] = []
    for seq, made, name, *said in db.execute(_CHAIN):
        count += 1
        if seq != count:
            return count, before, total, [f"entry {count} is missing: the next one is {seq}"]
        if made is None or name is None or None in said or linked(before, name, b"\x00".join(said)) != made:
            about = _text(said[7] or said[4])
            return count, before, total, [f"the chain breaks at entry {seq}, about {about}: it was changed"]
        before = made
        if noted and noted.get(count, made) != made:
            broken.append(f"entry {count} is not the one that was noted: the chain was written anew")
            noted = {}
        if said[2] == b"cost" and said[3] != b"move":
            total += int(said[6])
    if noted and max(noted) > count:
        broken.append(f"there were {max(noted)} entries when the chain was last noted, and now there are {count}")
    return count, before, total, broken


def _charges(db: apsw.Connection) -> list[str]:
    """Each record's charge is in the ledger under its id, and in the budgets that it counted against."""
    found: list[str] = []
    spent: dict[bytes, int] = {}
    decoded = msgspec.msgpack.Decoder(_Charged).decode
    for name, record in db.execute("SELECT CAST(request AS BLOB), record FROM usage"):
        try:
            row = decoded(record)
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
            found.append(f"the usage record of {_text(name)} cannot be read: {error}")
            continue
        if row.request.encode() != name:
            found.append(f"the usage record of {_text(name)} is about {row.request}")
        if row.charge_nanousd:
            for budget in row.budgets:
                spent[budget.encode()] = spent.get(budget.encode(), 0) + row.charge_nanousd
            entry = next(
                iter(db.execute("SELECT nanousd FROM entry WHERE id = ?", (entry_id("charge", row.request),))), None
            )
            if entry is None or entry[0] != row.charge_nanousd:
                found.append(f"the charge of {_text(name)} is not in the ledger as its record has it")
        if len(found) >= FOUND_MAX:
            return found
    kept = dict(db.execute(_BUDGETS))
    other = [name or b"" for name in spent.keys() | kept.keys() if spent.get(name, 0) != kept.get(name, 0)]
    return found + [f"what was spent of {_text(name)} is not the sum of its charges" for name in sorted(other)]


def _told(row: tuple[Any, ...]) -> str:
    return ", ".join(map(_text, row))


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
