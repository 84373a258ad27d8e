"""The SQLite file: durable against kills, honest about a full disk, and never half moved to a new schema."""

import subprocess
import sys

import apsw
import pytest

from headrace.errors import Permanent, Transient
from headrace.stores import schema
from headrace.stores.sqlite import SqliteStore
from tests.stores.entries import usage


@pytest.fixture
def path(tmp_path):
    return tmp_path / "headrace.db"


def test_the_file_is_its_owners_alone_and_fully_synced(path):
    """Key digests are in it; a commit is on disk when it returns."""
    store = SqliteStore(path)
    assert oct(path.stat().st_mode)[-3:] == "600"
    assert [store._db.pragma(name) for name in ("journal_mode", "synchronous", "user_version")] == [
        "wal",
        2,
        len(schema.STEPS),
    ]
    assert store.problems() == []
    store.close()


FULL = """
import resource, sys
from pathlib import Path
from headrace.errors import Transient
from headrace.stores.sqlite import SqliteStore
from tests.stores.entries import usage
store = SqliteStore(Path(sys.argv[1]))
store.usage_add([usage("before")], {"a.log": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    store.usage_add([usage(f"r{n}", why="x" * 1000) for n in range(1000)], {"a.log": 2})
    print("no error")
except Transient as error:
    print(error.delay_us)
assert store.usage_get("before") and not store.usage_get("r0") and store.marks() == {"a.log": 1}
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(store.usage_add([usage("after")], {"a.log": 3}), store.problems())
"""


def test_without_room_nothing_is_half_written_and_work_goes_on_after(path):
    """Transient, the transaction undone with its position; the next one succeeds when there is room."""
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1000000\n1 []\n", "")


WRITER = """
import sys
from pathlib import Path
from headrace.stores.sqlite import SqliteStore
from tests.stores.entries import usage
store, number = SqliteStore(Path(sys.argv[1])), int(sys.argv[2])
while True:
    store.usage_add([usage(f"r{number}-{n}") for n in range(3)], {"a.log": number})
    print(number, flush=True)
    number += 1
"""


def test_a_kill_loses_no_transaction_that_returned(path):
    """Rows and position together, or neither."""
    number = 0
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(number)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(40):
                number = int(writer.stdout.readline())
            writer.kill()
            number = max([number, *(int(line) for line in writer.stdout.read().split())]) + 1
        store = SqliteStore(path)
        mark = store.marks()["a.log"]
        assert mark in (number - 1, number)
        assert len(store.usage_list(limit=10_000)) == 3 * (mark + 1)
        assert store.problems() == []
        store.close()
        number = mark + 1


def test_a_file_of_a_later_schema_is_not_touched(path):
    """The message says what to do."""
    SqliteStore(path).close()
    database = apsw.Connection(str(path))
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(Permanent, match="of schema 99, this Headrace knows up to"):
        SqliteStore(path)


def test_a_step_that_fails_leaves_the_file_as_it_was(path, monkeypatch):
    """Each step is one transaction with its version."""
    SqliteStore(path).close()
    broken = "CREATE TABLE half (a INTEGER) STRICT; CREATE TABLE usage (b INTEGER) STRICT;"
    monkeypatch.setattr("headrace.stores.sqlite.STEPS", (*schema.STEPS, broken))
    with pytest.raises(apsw.SQLError):
        SqliteStore(path)
    monkeypatch.setattr("headrace.stores.sqlite.STEPS", (*schema.STEPS, "CREATE TABLE whole (a INTEGER) STRICT;"))
    store = SqliteStore(path)
    assert store._db.pragma("user_version") == len(schema.STEPS) + 1
    assert [
        name for (name,) in store._db.execute("SELECT name FROM sqlite_schema WHERE name IN ('half', 'whole')")
    ] == ["whole"]
    store.close()


def test_a_damaged_file_is_told_as_such(path):
    """Another try would fail alike; the message names the file."""
    path.write_bytes(b"this is no database " * 500)
    with pytest.raises(Permanent, match=r"headrace\.db is damaged"):
        SqliteStore(path)


def test_a_folder_that_is_missing_is_told(path):
    """As something to try again, with SQLite's words."""
    with pytest.raises(Transient, match="unable to open database file"):
        SqliteStore(path.parent / "missing" / "headrace.db")


def test_totals_that_are_not_the_sum_of_their_rows_are_found(path):
    """The check that `doctor` runs."""
    store = SqliteStore(path)
    store.usage_add([usage("one", output_tokens=3)], {})
    store._db.execute("UPDATE usage_total SET output_tokens = 4")
    assert len(store.problems()) == 2
    store.close()


@pytest.mark.parametrize("narrowed", [{}, {"tenant": "t"}, {"model": "m"}, {"tenant": "t", "model": "m"}])
def test_listings_walk_an_index(path, narrowed):
    """No listing sorts or scans the whole table."""
    from headrace.stores.sqlite import _LIST_USAGE

    store = SqliteStore(path)
    query = _LIST_USAGE["tenant" in narrowed, "model" in narrowed]
    steps = [row[3] for row in store._db.execute(f"EXPLAIN QUERY PLAN {query}", ("t", "m", 1, 1))]
    assert all("USING INDEX usage_by_" in step for step in steps), steps
    store.close()
