"""The journal of runs on SQLite: what has returned is there for the next process, in order."""

import asyncio
import json
import sqlite3
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


def test_a_forgotten_run_leaves_nothing_but_its_objects_which_go_when_nobody_has_them(tmp_path: Path):
    """What another run has as well stays; the bytes are counted for each run that has them."""
    store = SqliteRuns(tmp_path / "runs.db")

    async def life() -> None:
        for run, tenant in (("run_1", "t"), ("run_2", "t"), ("run_3", "u")):
            await store.begin(run, b"{}", tenant)
            await store.hold(tenant, run, [("shared", 10), (f"of {run}", 1)])
            await store.hold(tenant, run, [("shared", 10)])
        assert store.kept() == {("t", "run"): 22, ("u", "run"): 11}
        assert store.kept("u") == {("u", "run"): 11}
        assert await store.forget("run_1") is False  # it is at work
        await store.remember("t", "d", Cached("run_1", 100, b"1"), 1 << 40)
        await store.mark("run_1", True, 500)
        assert (store.over("t", 500), store.over("t", 501), store.over("u", 501)) == ([], ["run_1"], [])
        assert await store.forget("run_1") is True
        assert await store.forget("run_1") is False

    asyncio.run(life())
    store.close()
    again = SqliteRuns(tmp_path / "runs.db")
    assert (again.events("run_1"), again.cached("t", "d"), again.recent(9)) == ([], None, ["run_3", "run_2"])
    assert again.kept() == {("t", "run"): 11, ("u", "run"): 11}
    assert {digest: again.held(digest) for digest in again.loose()} == {"shared": True, "of run_1": False}
    asyncio.run(again.let_go("shared"))
    assert again.loose() == ["of run_1"]
    assert again.tenants() == ["t", "u"]
    again.close()


def test_objects_of_a_run_that_never_began_are_let_go(tmp_path: Path):
    store = SqliteRuns(tmp_path / "runs.db")

    async def life() -> None:
        await store.begin("run_1", b"{}", "t")
        for run in ("run_1", "run_2"):
            await store.hold("t", run, [(run, 5)])
        assert store.unbegun() == ["run_2"]
        await store.forget("run_2")

    asyncio.run(life())
    assert (store.unbegun(), store.loose(), store.kept()) == ([], ["run_2"], {("t", "run"): 5})
    store.close()


def test_a_journal_of_an_earlier_version_learns_whose_its_runs_are_and_when_they_ended(tmp_path: Path):
    old = sqlite3.connect(tmp_path / "runs.db")
    old.executescript(
        "CREATE TABLE event (seq INTEGER PRIMARY KEY, run TEXT NOT NULL, data BLOB NOT NULL);"
        "CREATE TABLE run (seq INTEGER PRIMARY KEY, run TEXT UNIQUE NOT NULL, done INTEGER NOT NULL);"
        "INSERT INTO run (run, done) VALUES ('run_1', 1), ('run_2', 0)"
    )
    events = ({"at_us": 1, "tenant": "t"}, {"at_us": 7})
    old.executemany("INSERT INTO event (run, data) VALUES ('run_1', ?)", [(json.dumps(e).encode(),) for e in events])
    old.commit()
    old.close()
    store = SqliteRuns(tmp_path / "runs.db")
    assert (store.over("t", 7), store.over("t", 8), store.unfinished()) == ([], ["run_1"], ["run_2"])
    store.close()
