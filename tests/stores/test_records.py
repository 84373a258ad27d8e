"""Documents of the runner's parts: there when a write has returned, found by tenant, paged in the order of making."""

import asyncio
import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.ports import Page, Record
from headrace.stores.records import SqliteRecords


def record(number: int, **more: object) -> Record:
    facts = {"id": f"f{number}", "kind": "file", "tenant": "t", "data": b"%d" % number, "tag": ("a", "b")[number % 2]}
    return Record(**{**facts, **more})


def test_documents_outlive_their_process_and_keep_to_their_tenant(tmp_path: Path):
    store = SqliteRecords(tmp_path / "jobs.db")

    async def write() -> None:
        await asyncio.gather(*(store.put(record(n, open=n == 3)) for n in range(6)))
        await store.put(record(9, tenant="u"))
        await store.put(record(1, due_s=70))
        await store.put(record(0, due_s=71))
        await store.put(record(2, data=b"new", digest="d"))
        await store.delete("f4")

    asyncio.run(write())
    store.close()
    again = SqliteRecords(tmp_path / "jobs.db")
    assert (tmp_path / "jobs.db").stat().st_mode & 0o777 == 0o600
    assert again.get("file", "t", "f2").data == b"new"
    assert again.get("file", "u", "f2") is None
    assert again.get("batch", "t", "f2") is None
    assert [r.id for r in again.open("file")] == ["f3"]
    assert [again.held(*asked) for asked in (("file", "d"), ("batch", "d"), ("file", "e"), ("file", ""))] == [
        True, False, False, False
    ]  # fmt: skip
    assert [r.id for r in again.due("file", 70)] == ["f1"]
    names = lambda **page: [r.id for r in again.page("file", "t", Page(**page))]  # noqa: E731
    assert names() == ["f5", "f3", "f2", "f1", "f0"]  # replaced is not made anew
    assert names(limit=2) == ["f5", "f3"]
    assert names(limit=2, after="f3") == ["f2", "f1"]
    assert names(after="f2", oldest_first=True) == ["f3", "f5"]
    assert names(tag="b") == ["f5", "f3", "f1"]
    assert names(after="unknown") == []
    again.close()


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 4), st.sampled_from(["t", "u"]), st.sampled_from(["file", "file.leaving"]), st.integers(-1, 3)
    ),
    max_size=20,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
def test_what_tenants_keep_is_the_sum_of_their_documents_after_any_changes(tmp_path: Path, changes: list[Any]):
    """Made, replaced, of another kind, taken away (-1): the count is that of the documents there are."""
    (tmp_path / "jobs.db").unlink(missing_ok=True)
    store, left = SqliteRecords(tmp_path / "jobs.db"), dict[str, Record]()

    async def write() -> None:
        for number, tenant, kind, size in changes:
            name = f"f{number}{tenant}"  # a document never changes its tenant
            if size < 0:
                await store.delete(name)
                left.pop(name, None)
            else:
                left[name] = record(0, id=name, tenant=tenant, kind=kind, bytes=size)
                await store.put(left[name])

    asyncio.run(write())
    sums = Counter[tuple[str, str]]()
    for one in left.values():
        sums[one.tenant, one.kind] += one.bytes
    assert store.kept() == {place: size for place, size in sums.items() if size}
    assert store.kept("t") == {place: size for place, size in sums.items() if size and place[0] == "t"}
    store.close()


def test_a_file_of_an_earlier_version_is_counted_when_it_is_opened(tmp_path: Path):
    store = SqliteRecords(tmp_path / "jobs.db")
    facts = (("a", "file", json.dumps({"bytes": 7})), ("b", "response", "four"), ("c", "batch", "{}"))
    asyncio.run(_put(store, [record(0, id=name, kind=kind, data=data.encode()) for name, kind, data in facts]))
    store.close()
    old = sqlite3.connect(tmp_path / "jobs.db")
    for name in ("record_made", "record_changed", "record_gone"):
        old.execute(f"DROP TRIGGER {name}")
    old.executescript("DROP TABLE kept; ALTER TABLE record DROP COLUMN bytes")
    old.close()
    for _ in range(2):
        store = SqliteRecords(tmp_path / "jobs.db")
        assert store.kept() == {("t", "file"): 7, ("t", "response"): 4}
        store.close()


async def _put(store: SqliteRecords, records: list[Record]) -> None:
    for one in records:
        await store.put(one)
