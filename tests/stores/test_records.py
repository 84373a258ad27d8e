"""Documents of the runner's parts: there when a write has returned, found by tenant, paged in the order of making."""

import asyncio
from pathlib import Path

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
