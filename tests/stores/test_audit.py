"""The proof of the books finds what was changed behind their back, and names the place."""

import random
from pathlib import Path

import apsw
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import Permanent
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
        ("UPDATE spend_model SET amount = amount + 1", "models are the sums"),
        ("DELETE FROM usage WHERE request = 'r3'", "each charge has one usage record"),
        ("UPDATE spend SET cost_nanousd = 0 WHERE unit = ''", "costs of requests"),
    ],
)
def test_what_is_missing_or_at_odds_is_named(books: Path, statement: str, told: str):
    """Entries, roll-ups, records."""
    assert any(told in line for line in changed(books, statement))


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM entry WHERE seq = (SELECT max(seq) FROM entry)", "balances are the sums"),
        ("DELETE FROM balance WHERE account LIKE 'due/%'", "balances are the sums"),
        ("UPDATE spend SET key = 'other' WHERE unit = ''", "days are the sums"),
        ("UPDATE spend SET charge_nanousd = charge_nanousd + 1 WHERE unit = 'input_tokens'", "days are the sums"),
        ("UPDATE spend SET tenant = 'b'", "costs of requests"),
        ("UPDATE spend_day SET amount = amount + 1, charge_nanousd = charge_nanousd - 1", "days are the sums"),
        ("UPDATE usage_total SET output_tokens = 0", "totals are the sums"),
        ("UPDATE budget_spent SET nanousd = nanousd - 1", "what was spent of tenant:a|day|d"),
        ("DELETE FROM budget_spent", "what was spent of tenant:a|day|d"),
        ("UPDATE usage SET record = x'ff' WHERE request = 'r3'", "the usage record of r3 cannot be read"),
        (
            "UPDATE usage SET record = (SELECT record FROM usage WHERE request = 'r4') WHERE request = 'r3'",
            "is about r4",
        ),
    ],
)
def test_one_changed_roll_up_or_record_is_named(books: Path, statement: str, told: str):
    """Every figure stands in two places at least."""
    assert any(told in line for line in changed(books, statement))


def test_a_record_that_was_charged_otherwise_is_named(books: Path):
    """Also when everything else adds up: the ledger and the record say the same of each request."""
    store = SqliteStore(books)
    row = store.usage_get("r3")
    store.close()
    assert row is not None
    other = msgspec.msgpack.encode(msgspec.structs.replace(row, charge_nanousd=1)).hex()
    found = changed(books, f"UPDATE usage SET record = x'{other}' WHERE request = 'r3'")
    assert any("the charge of r3 is not in the ledger" in line for line in found)


COLUMNS = ("id", "at_us", "hour_us", "book", "kind", "debit", "credit", "nanousd", "subject", "note", "hash")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seq=st.integers(1, 60), column=st.sampled_from(COLUMNS), at=st.integers(0, 200), bit=st.integers(0, 7))
def test_any_flipped_bit_of_an_entry_is_found_at_that_entry(books: Path, seq: int, column: str, at: int, bit: int):
    """Also one that makes a text no text."""
    db = apsw.Connection(str(books))
    db.execute("DROP TRIGGER IF EXISTS entry_stays")
    was, kind = next(db.execute(f"SELECT CAST({column} AS BLOB), typeof({column}) FROM entry WHERE seq = ?", (seq,)))
    if was:
        at %= len(was)
        made: object = was[:at] + bytes([was[at] ^ 1 << bit]) + was[at + 1 :]
        if kind == "integer":
            made = int(was) ^ 1 << bit
        cast = "CAST(? AS TEXT)" if kind == "text" else "?"
        db.execute(f"UPDATE entry SET {column} = {cast} WHERE seq = ?", (made, seq))
        found = audit(books)
        assert not found.ok
        assert any(f"entry {seq}," in line for line in found.found)
        cast = "CAST(? AS INTEGER)" if kind == "integer" else f"CAST(? AS {kind.upper()})"
        db.execute(f"UPDATE entry SET {column} = {cast} WHERE seq = ?", (was, seq))
    db.close()
    assert audit(books).ok


def test_a_file_with_a_flipped_bit_is_reported_and_never_a_crash(books: Path):
    """Wherever it is and whichever: found, or harmless (free space), and always an answer."""
    whole, damaged, rng = books.read_bytes(), 0, random.Random(5)
    used = [at for at in range(100, len(whole)) if whole[at]]
    for number in range(300):
        at = rng.choice(used) if number % 2 else rng.randrange(100, len(whole))
        books.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << number % 8]) + whole[at + 1 :])
        found = audit(books)
        damaged += not found.ok
        assert found.ok or found.found
    assert damaged > 50


def test_a_damaged_record_is_told_in_words(books: Path):
    """Another try would fail alike; the message says what to do."""
    store = SqliteStore(books)
    for statement, asked in [
        ("UPDATE usage SET record = x'c1' WHERE request = 'r3'", lambda: store.usage_get("r3")),
        ("UPDATE price SET record = x'80'", lambda: store.statements.prices()),
        ("UPDATE balance SET account = CAST(x'ff' AS TEXT) WHERE account LIKE 'due/%'",
         lambda: store.statements.balances(0, 1 << 60)),
    ]:  # fmt: skip
        store._db.execute(statement)
        with pytest.raises(Permanent, match="restore it from a backup"):
            asked()
    store.close()


def test_a_chain_written_anew_is_found_by_what_was_noted(tmp_path: Path):
    """Books that are right in themselves, and not those that were noted: other entries, or fewer."""
    heads: dict[str, tuple[int, str]] = {}
    for name, first in (("old", 100), ("new", 101)):
        store = SqliteStore(tmp_path / name)
        store.terms(prices=[PRICE])
        for number in range(5):
            store.usage_add([usage(f"r{number}", charge=first + number)], {})
            if number == 3:
                heads[name] = store.statements.head()
        store.close()
    noted = {heads["old"][0]: heads["old"][1]}
    assert audit(tmp_path / "old", noted).ok
    assert audit(tmp_path / "new").ok
    (line,) = audit(tmp_path / "new", noted).found
    assert "entry 4 is not the one that was noted" in line
    (line,) = audit(tmp_path / "old", {6: "00" * 32}).found
    assert "there were 6 entries" in line
    assert "there are 5" in line
