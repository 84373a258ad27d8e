"""What a run tells is durable before anything follows from it, also where it is not waited for."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from headrace.errors import Transient
from headrace.pipelines.journal import Journal
from headrace.state.run import AnyEvent, Chosen, Run, Started
from tests.pipelines import world


class Disk(world.Journal):
    """Keeps what is told soon until the next append, and can be full."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.waiting: list[asyncio.Future[None]] = []

    async def append(self, run: str, events: Sequence[bytes]) -> None:
        waiting, self.waiting = self.waiting, []
        if self.full:
            for done in waiting:
                done.set_exception(Transient("full", delay_us=1))
            self.soon.clear()
            self.full = False  # whoever comes next finds room
        else:
            await super().append(run, events)
            for done in waiting:
                done.set_result(None)
        await asyncio.sleep(0)  # what was appended before is known first

    def append_soon(self, run: str, events: Sequence[bytes]) -> "asyncio.Future[None]":
        super().append_soon(run, events)
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]


def run() -> Run:
    return Run(started=Started(at_us=0, run="run_1", tenant="t", key="k", pipeline="p", version="v", source="",
                               inputs={}, cap_nanousd=1, deadline_us=9, width=1))  # fmt: skip


def chosen(why: str) -> Chosen:
    return Chosen(at_us=1, step="s", why=why)


def test_the_state_moves_at_once_and_watchers_hear_of_it_when_it_is_durable():
    async def tell() -> None:
        disk, told, of = Disk(), list[AnyEvent](), run()
        journal = Journal(of, disk, told.append)
        journal.tell_soon(chosen("a"))
        assert of.chosen == [chosen("a")]
        await asyncio.sleep(0)
        assert told == []
        await journal.tell(chosen("b"))
        await asyncio.sleep(0)
        assert told == [chosen("a"), chosen("b")]
        assert [msgspec.json.decode(event)["why"] for event in disk.events("run_1")] == ["a", "b"]

    asyncio.run(tell())


def test_what_could_not_be_written_fails_whatever_is_told_next_and_no_watcher_hears_of_it():
    async def tell() -> None:
        disk, told = Disk(), list[AnyEvent]()
        journal = Journal(run(), disk, told.append)
        journal.tell_soon(chosen("a"))
        disk.full = True
        with pytest.raises(Transient):
            await journal.tell(chosen("b"))
        assert told == []
        await journal.tell(chosen("the end"))
        assert told == [chosen("the end")]

    asyncio.run(tell())


def test_who_needs_no_event_can_still_wait_until_all_is_durable():
    async def tell() -> None:
        disk = Disk()
        journal = Journal(run(), disk, lambda _: None)
        journal.tell_soon(chosen("a"))
        assert disk.events("run_1") == []
        await journal.saved()
        assert len(disk.events("run_1")) == 1

    asyncio.run(tell())


def test_who_waits_for_money_goes_on_when_the_state_moves():
    async def tell() -> None:
        journal = Journal(run(), Disk(), lambda _: None)
        waiting = asyncio.ensure_future(journal.moved(60_000_000))
        await asyncio.sleep(0)
        journal.tell_soon(chosen("a"))
        await waiting
        with pytest.raises(TimeoutError):
            await journal.moved(1)

    asyncio.run(tell())
