"""Commits that are shared: who waits comes back when it is durable, and who does not is written no later than the next."""

import asyncio
from pathlib import Path

import apsw
import pytest

from headrace.errors import Transient
from headrace.stores.group_commit import GroupCommit, Write

SCHEMA = "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, word TEXT UNIQUE NOT NULL)"


def put(word: str) -> Write:
    return "INSERT INTO t (word) VALUES (?)", (word,)


def words(path: Path) -> list[str]:
    """What another process sees."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    found = [str(word) for (word,) in db.execute("SELECT word FROM t ORDER BY n")]
    db.close()
    return found


@pytest.fixture
def store(tmp_path: Path):
    made = GroupCommit(tmp_path / "t.db", SCHEMA, "the test's words")
    yield made
    made.close()


def test_what_nobody_waits_for_is_written_by_itself(store: GroupCommit, tmp_path: Path):
    async def write() -> None:
        assert await store.write_soon(put("a"), put("b")) == [1, 1]
        assert words(tmp_path / "t.db") == ["a", "b"]

    asyncio.run(write())


def test_it_is_written_before_what_comes_later_and_with_it(store: GroupCommit, tmp_path: Path):
    async def write() -> None:
        first = store.write_soon(put("first"))
        await store.write(put("second"))
        assert first.done()
        assert words(tmp_path / "t.db") == ["first", "second"]

    asyncio.run(write())


def test_while_a_group_is_written_it_waits_for_the_next_one(store: GroupCommit, tmp_path: Path):
    async def write() -> None:
        first = asyncio.ensure_future(store.write(put("0")))
        await asyncio.sleep(0)
        soon = [store.write_soon(put(f"{n}")) for n in range(1, 9)]
        await asyncio.gather(first, *soon, store.write(put("9")))
        assert words(tmp_path / "t.db") == [str(n) for n in range(10)]

    asyncio.run(write())


def test_one_that_fails_says_so_to_all_of_its_group_and_to_nobody_else(store: GroupCommit, tmp_path: Path):
    async def write() -> None:
        await store.write(put("a"))
        soon = store.write_soon(put("a"))
        with pytest.raises(Transient, match="the test's words cannot be written"):
            await store.write(put("b"))
        with pytest.raises(Transient):
            await soon
        await store.write(put("c"))

    asyncio.run(write())
    assert words(tmp_path / "t.db") == ["a", "c"]


def test_whoever_closes_it_writes_what_still_waits(tmp_path: Path):
    store = GroupCommit(tmp_path / "t.db", SCHEMA, "the test's words")

    async def write() -> None:
        store.write_soon(put("a"))

    asyncio.run(write())
    store.close()
    assert words(tmp_path / "t.db") == ["a"]
