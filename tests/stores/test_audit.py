"""The proof of the books finds what was changed behind their back, and names the place."""

from pathlib import Path

import apsw
import pytest

from headrace.stores.audit import audit
from headrace.stores.sqlite import SqliteStore
from tests.stores.test_ledger import PRICE, cost, usage


@pytest.fixture
def books(tmp_path: Path) -> Path:
    path = tmp_path / "b.db"
    store = SqliteStore(path)
    store.terms(prices=[PRICE])
    for number in range(30):
        row = usage(f"r{number}", charge=100 + number)
        store.usage_add([row], {})
        store.book("d", number + 1, [cost(row.request, 50 + number)], [(row, 50 + number)])
    store.close()
    return path


def changed(path: Path, *statements: str) -> tuple[str, ...]:
    """What an audit finds after a change through another program."""
    db = apsw.Connection(str(path))
    db.execute("DROP TRIGGER entry_stays; DROP TRIGGER entry_is_kept")
    for statement in statements:
        db.execute(statement)
    db.close()
    found = audit(path)
    assert not found.ok
    return found.found


def test_right_books_are_right(books: Path):
    """Every entry is read, and the last hash is named."""
    found = audit(books)
    assert (found.ok, found.entries, found.found) == (True, 60, ())
    assert len(found.head) == 64


@pytest.mark.parametrize(
    "column", ["at_us", "hour_us", "nanousd", "debit", "credit", "subject", "note", "kind", "book", "hash", "id"]
)
def test_any_changed_field_breaks_the_chain_there(books: Path, column: str):
    """The first entry that is not as it was."""
    value = (
        "zeroblob(32)"
        if column == "hash"
        else "zeroblob(16)"
        if column == "id"
        else (f"{column} + 1" if column in ("at_us", "hour_us", "nanousd") else f"{column} || 'x'")
    )
    assert any("entry 17" in line for line in changed(books, f"UPDATE entry SET {column} = {value} WHERE seq = 17"))


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM entry WHERE seq = 9", "entry 9 is missing"),
        ("UPDATE balance SET nanousd = nanousd + 1 WHERE account LIKE 'used/%'", "balances are the sums"),
        ("UPDATE spend SET charge_nanousd = charge_nanousd + 1 WHERE unit = ''", "charges are those of the usage"),
        ("UPDATE spend_day SET amount = amount + 1", "days are the sums"),
        ("DELETE FROM usage WHERE request = 'r3'", "each charge has one usage record"),
        ("UPDATE spend SET cost_nanousd = 0 WHERE unit = ''", "costs of requests"),
    ],
)
def test_what_is_missing_or_at_odds_is_named(books: Path, statement: str, told: str):
    """Entries, roll-ups, records."""
    assert any(told in line for line in changed(books, statement))


def test_a_file_with_a_flipped_byte_is_reported_and_never_a_crash(books: Path):
    """Wherever it is: found, or harmless (free space), and always an answer."""
    whole = books.read_bytes()
    damaged = 0
    for at in range(100, len(whole), max(1, len(whole) // 150)):
        books.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        found = audit(books)
        damaged += not found.ok
        assert found.ok or found.found
    assert damaged > 10
