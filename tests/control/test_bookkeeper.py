"""Every journalled request becomes one row, whatever dies when; read with the real journal and the real store."""

import asyncio
from pathlib import Path

import pytest

from headrace.control.bookkeeper import Bookkeeper
from headrace.control.metrics import Metrics
from headrace.errors import Transient
from headrace.state.usage import Begun, Progress, Usage
from headrace.stores import journal_reader
from headrace.stores.journal import FileJournal
from headrace.stores.sqlite import SqliteStore
from tests.control.sim import SimClock

pytestmark = pytest.mark.anyio


def begun(name: str) -> Begun:
    return Begun(request=name, epoch="e", tenant="t", key="k", model="m", task="chat", arrived_us=1)


def usage(name: str, **more) -> Usage:
    fields = {"epoch": "e", "tenant": "t", "key": "k", "model": "m", "task": "chat", "outcome": "finished"}
    return Usage(request=name, status=200, arrived_us=1, ended_us=2, output_tokens=3, **(fields | more))


async def append(journal: FileJournal, *entries) -> None:
    """On disk when it returns."""
    done = asyncio.get_running_loop().create_future()
    for entry in entries[:-1]:
        journal.append(entry)
    journal.append(entries[-1], done.set_result)
    assert await done


class Desk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "journal"
        self.folder.mkdir(exist_ok=True)
        self.store = SqliteStore(folder / "db")
        self.metrics = Metrics()
        self.books = self.opened()

    def opened(self) -> Bookkeeper:
        return Bookkeeper(self.folder, self.store, journal_reader, self.metrics, SimClock())

    def rows(self) -> dict[str, str]:
        return {row.request: row.outcome for row in self.store.usage_list(limit=10_000)}

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_rows_come_as_requests_end(desk):
    """Begun alone is no row; each end is one, and reading again adds none."""
    journal = FileJournal(desk.folder, "e")
    await append(journal, begun("a"), usage("a"), begun("b"))
    assert [await desk.books.catch_up(), await desk.books.catch_up()] == [1, 0]
    assert desk.rows() == {"a": "finished"}
    assert desk.books.begun("b") == begun("b")
    await append(journal, usage("b"))
    assert await desk.books.catch_up() == 1
    assert desk.books.begun("b") is None
    await journal.close()


async def test_a_dead_gateway_s_open_requests_are_settled_at_their_last_mark(desk):
    """They failed, with the tokens that were marked; then the file is gone."""
    journal = FileJournal(desk.folder, "e")
    await append(journal, begun("a"), usage("a"), begun("b"), Progress(request="b", output_tokens=7, at_us=5))
    await journal.close()
    assert await desk.books.catch_up() == 2
    lost = desk.store.usage_get("b")
    assert lost is not None
    assert (lost.outcome, lost.code, lost.output_tokens, lost.counted) == ("failed", "gateway_lost", 7, "gateway")
    assert (desk.files(), desk.store.marks()) == ([], {})


async def test_a_controller_that_died_between_is_continued(desk):
    """What its predecessor had read is neither lost nor doubled; who is still open is known again."""
    journal = FileJournal(desk.folder, "e")
    await append(journal, begun("a"), begun("b"), usage("b"))
    await desk.books.catch_up()
    again = desk.opened()
    assert await again.catch_up() == 0
    assert again.begun("a") == begun("a")
    await journal.close()
    assert await again.catch_up() == 1
    assert desk.rows() == {"a": "failed", "b": "finished"}


async def test_a_full_disk_delays_and_loses_nothing(desk, monkeypatch):
    """The journal stays until its rows are kept, also when the gateway is dead by then."""
    journal = FileJournal(desk.folder, "e")
    await append(journal, begun("a"), usage("a"), begun("b"))
    await journal.close()
    kept = desk.store.usage_add

    def full(*_: object) -> int:
        raise Transient("the disk is full")

    monkeypatch.setattr(desk.store, "usage_add", full)
    assert await desk.books.try_to_catch_up() == 0
    assert desk.files() == ["e.log"]
    with pytest.raises(Transient):
        await desk.books.catch_up()
    monkeypatch.setattr(desk.store, "usage_add", kept)
    assert await desk.books.catch_up() == 2
    assert desk.rows() == {"a": "finished", "b": "failed"}


async def test_a_disk_that_fills_while_a_dead_gateway_is_settled_delays_its_end(desk, monkeypatch):
    """Its part in budgets is given back once, and nothing stays open that would hold the books up."""
    journal = FileJournal(desk.folder, "e")
    await append(journal, begun("a"))
    await journal.close()
    told: list[str] = []

    def ended(epoch: str) -> None:
        told.append(epoch)
        if len(told) == 1:
            raise Transient("the disk is full")

    desk.books.ended = ended
    with pytest.raises(Transient):
        await desk.books.catch_up()
    await desk.books.catch_up()
    assert told == ["e", "e"]
    assert desk.files() == []
    assert desk.rows() == {"a": "failed"}
    assert desk.books.settled_until() == SimClock().now_us()


async def test_a_long_journal_is_read_in_pieces_and_others_have_their_turn(desk):
    """While a thousand rows are moved the loop goes on."""
    journal = FileJournal(desk.folder, "e")
    await append(journal, *(entry for n in range(1500) for entry in (begun(f"r{n}"), usage(f"r{n}", why="x" * 300))))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    assert await desk.books.catch_up() == 1500
    task.cancel()
    assert turns > 2
    await journal.close()


async def test_two_who_read_at_once_count_once(desk):
    """The loop and an admin's question share one reading."""
    journal = FileJournal(desk.folder, "e")
    await append(journal, begun("a"), usage("a"))
    assert sorted(await asyncio.gather(desk.books.catch_up(), desk.books.catch_up())) == [0, 1]
    assert b'headrace_requests_total{model="other",outcome="finished",tenant="t"} 1.0' in desk.metrics.render(
        fleet(), {}, 0
    )
    await journal.close()


async def test_full_segments_of_a_living_gateway_are_deleted_once_nothing_in_them_is_open(desk):
    """Its first file, by which it is known to live, and the one it writes stay."""
    journal = FileJournal(desk.folder, "e", segment_bytes_max=400)
    await append(journal, begun("early"))
    for n in range(12):
        await append(journal, begun(f"r{n}"), usage(f"r{n}"))
    await append(journal, begun("open"))
    for n in range(12, 24):
        await append(journal, begun(f"r{n}"), usage(f"r{n}"))
    before = desk.files()
    await desk.books.catch_up()
    left = desk.files()
    assert len(left) == 3  # the first, the one in which `open` began, the last
    assert {"e.log", before[-1] if before[-1] != "e.log" else before[0]} & set(left)
    assert await desk.opened().catch_up() == 0
    await journal.close()
    assert await desk.books.catch_up() == 2
    assert desk.rows()["open"] == desk.rows()["early"] == "failed"
    assert desk.files() == []


def fleet():
    from headrace.state.fleet import Fleet

    return Fleet(devices=(), replicas=(), at_us=0)
