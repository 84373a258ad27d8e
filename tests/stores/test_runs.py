"""The journal of runs on SQLite: what has returned is there for the next process, in order."""

import asyncio
from pathlib import Path

from headrace.state.run import Cached
from headrace.stores.runs import SqliteRuns


def test_what_was_appended_is_there_for_the_next_runner(tmp_path: Path):
    store = SqliteRuns(tmp_path / "runs.db")

    async def write() -> None:
        await asyncio.gather(*(store.append(f"run_{i % 3}", [b"%d" % i]) for i in range(30)))
        await store.mark("run_0", False)
        await store.mark("run_1", True)
        await store.deploy("t", "p", "text")

    asyncio.run(write())
    store.close()
    again = SqliteRuns(tmp_path / "runs.db")
    assert again.events("run_0") == [b"%d" % i for i in range(0, 30, 3)]
    assert again.unfinished() == ["run_0"]
    assert again.deployed("t") == {"p": "text"}
    assert again.deployed("u") == {}
    again.close()


def test_of_two_that_begin_one_run_at_once_one_does(tmp_path: Path):
    store = SqliteRuns(tmp_path / "runs.db")

    async def begin() -> list[bool]:
        return await asyncio.gather(*(store.begin(f"run_{i % 2}", b"%d" % i) for i in range(8)))

    assert sum(asyncio.run(begin())) == 2
    assert store.events("run_0") == [b"0"]
    assert store.events("run_1") == [b"1"]
    assert store.unfinished() == ["run_0", "run_1"]
    assert asyncio.run(store.begin("run_0", b"again")) is False
    store.close()


def test_a_result_is_remembered_for_its_tenant_and_no_longer_than_it_may_be_used(tmp_path: Path):
    store = SqliteRuns(tmp_path / "runs.db")
    asyncio.run(store.remember("t", "d", Cached("run_1", 100, b"1"), 50))
    assert store.cached("t", "d") == Cached("run_1", 100, b"1")
    assert store.cached("u", "d") is None
    asyncio.run(store.remember("t", "other", Cached("run_2", 151, b"2"), 50))
    assert store.cached("t", "d") is None
    asyncio.run(store.remember("t", "other", Cached("run_3", 160, b"3"), 50))
    assert store.cached("t", "other") == Cached("run_3", 160, b"3")
    store.close()
