"""Events of a response: kept before they are told, in order, from any place, also after a restart."""

import asyncio
import json
from pathlib import Path

import pytest

from headrace.jobs import response_events
from headrace.jobs.response import Kept
from headrace.jobs.response_events import BEGINNING, Events, last
from headrace.stores.records import SqliteRecords

KEPT = Kept(id="resp_1", tenant="t", key="k", created_s=1, body={"stream": True}, items=[],
            response={"status": "completed"}, background=True)  # fmt: skip


def read(told: list[bytes]) -> list[dict]:
    return [json.loads(text.partition(b"data: ")[2]) for text in told if text.startswith(b"event: ")]


async def heard(events: Events, start: int = 0) -> list[dict]:
    return read([text async for text in events.follow(start)])


@pytest.fixture
def records(tmp_path: Path):
    made = SqliteRecords(tmp_path / "jobs.db")
    yield made
    made.close()


def test_they_are_read_again_from_any_place(records: SqliteRecords):
    """However they were written; once settled they are one record."""

    async def work() -> None:
        events = Events(records, KEPT, 99)
        for kind in (*BEGINNING, *"abcdefgh"):
            events.add(kind, n=kind)
            await asyncio.sleep(0.01)
        again = Events(records, KEPT, 99).load()
        assert 0 < len(again.told) <= 11
        await events.settle()
        events.end()
        loaded = Events(records, KEPT, 99).load()
        loaded.end()
        every = await heard(events)
        assert [event["sequence_number"] for event in every] == list(range(11))
        assert await heard(loaded, 4) == every[4:] == await heard(events, 4)
        assert await heard(loaded, 11) == await heard(loaded, 99) == []
        assert [one.id for one in records.all(response_events.KIND)] == ["resp_1/0"]
        await loaded.delete()
        assert Events(records, KEPT, 99).load().told == []

    asyncio.run(work())


def test_a_crash_while_they_are_made_one_leaves_each_once(records: SqliteRecords):
    """The first record then holds those of the others, too."""

    async def work() -> None:
        events = Events(records, KEPT, 99)
        events.add(BEGINNING[0])
        while events._writing is not None and not events._durable:
            await asyncio.sleep(0)
        for kind in "ab":
            events.add(kind)
        await events._writing
        await events._put(0, response_events._Chunk(0, events.told))
        assert len(records.all(response_events.KIND)) == 2
        assert Events(records, KEPT, 99).load().told == events.told

    asyncio.run(work())


def test_who_follows_hears_what_is_kept_and_waits_for_more(records: SqliteRecords, monkeypatch: pytest.MonkeyPatch):
    """With a comment now and then; nothing is told that could be lost."""
    monkeypatch.setattr(response_events, "ALIVE_S", 0.01)

    async def work() -> None:
        events, told = Events(records, KEPT, 99), []

        async def follow() -> None:
            async for text in events.follow(0):
                told.append(text)
                assert len(read(told)) <= len(Events(records, KEPT, 99).load().told)

        following = asyncio.create_task(follow())
        async with asyncio.timeout(10):
            while response_events.COMMENT not in told:
                await asyncio.sleep(0.001)
            events.add("a")
            events.add("b")
            events.end()
            await following
        assert [event["type"] for event in read(told)] == ["a", "b"]

    asyncio.run(work())


def test_a_beginning_that_is_made_again_is_told_once(records: SqliteRecords):
    """Words are told as they come."""

    async def work() -> None:
        events = Events(records, KEPT, 99)
        for kind in (*BEGINNING, *BEGINNING, "a", "a"):
            assert events.spoken == (len(events.told) > 3)
            events.add(kind)
        assert [json.loads(text.partition("data: ")[2])["type"] for text in events.told] == [*BEGINNING, "a", "a"]
        await events.settle()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("status", "kind"), [("completed", "completed"), ("failed", "failed"), ("cancelled", "incomplete")]
)
def test_the_last_one_is_made_of_the_response(status: str, kind: str):
    """Under the next number."""
    kept = Kept(id="resp_1", tenant="t", key="k", created_s=1, body={}, items=[], response={"status": status})
    (event,) = read([last(kept, 7)])
    assert (event["type"], event["sequence_number"], event["response"]["status"]) == (f"response.{kind}", 7, status)
