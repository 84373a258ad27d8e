"""The events of one response in the background: kept before they are told, so that whoever was told some can go on.

An event's sequence number is its place. The last one, which tells how the response ended, is not kept here: it is made
of the response itself. While a response is at work its events are in memory; they are read again after a restart.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from headrace import telemetry
from headrace.errors import Transient
from headrace.jobs.response import Kept
from headrace.ports import Record, Records

KIND: Final = "response_events"
BEGINNING: Final = ("response.created", "response.queued", "response.in_progress")
GATHER_S: Final = 0.05  # between two writes: what comes meanwhile is one
AGAIN_S: Final = 1.0
ALIVE_S: Final = 15.0
COMMENT: Final = b": waiting\n\n"


class _Chunk(msgspec.Struct):
    """Events from place `first` on."""

    first: int
    events: list[str]


class Events:
    """Those of one response. `told` are whole server-sent events."""

    def __init__(self, records: Records, kept: Kept, due_s: int) -> None:
        self._records, self._name, self._tenant, self._due_s = records, kept.id, kept.tenant, due_s
        self.told: list[str] = []
        self._durable = self._chunks = 0
        self._over = False
        self._writing: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def load(self) -> "Events":
        """Read what was kept."""
        while (found := self._records.get(KIND, self._tenant, self._id(self._chunks))) is not None:
            chunk = msgspec.json.decode(found.data, type=_Chunk)
            if chunk.first == len(self.told):  # else it is one of those that were made one
                self.told += chunk.events
            self._chunks += 1
        self._durable = len(self.told)
        return self

    @property
    def spoken(self) -> bool:
        """Whether something of an answer has been told, which cannot be untold."""
        return len(self.told) > len(BEGINNING)

    def add(self, kind: str, **more: Any) -> None:
        """One more. Of the beginning each comes once, however often the response is begun with."""
        if kind in BEGINNING and BEGINNING.index(kind) < len(self.told):
            return
        self.told.append(event(kind, len(self.told), more))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def settle(self) -> None:
        """Wait until all are kept, and make them one record."""
        if self._writing is not None:
            await self._writing
        if self._chunks > 1:
            await self._put(0, _Chunk(0, self.told))
            await self._drop(1)
            self._chunks = 1

    async def delete(self) -> None:
        """They are not there any more. Nobody may add any."""
        await self._drop(0)

    def end(self) -> None:
        """There will be no more: whoever follows has heard all."""
        self._over = True
        self._wake()

    async def follow(self, start: int) -> AsyncIterator[bytes]:
        """Events from that place on, as they are kept, to the end; now and then a comment to who waits."""
        while True:
            changed, until = self._changed, self._durable
            for text in self.told[start:until]:
                yield text.encode()
            start = max(start, until)
            if self._over and until == len(self.told):
                return
            try:
                await asyncio.wait_for(changed.wait(), ALIVE_S)
            except TimeoutError:
                yield COMMENT

    async def _write(self) -> None:
        try:
            while self._durable < len(self.told):
                batch = self.told[self._durable :]
                try:
                    await self._put(self._chunks, _Chunk(self._durable, batch))
                except Transient as error:  # a full disk: nobody is told of what is not kept
                    telemetry.logger().info("response.waits", response=self._name, error=str(error))
                    await asyncio.sleep(AGAIN_S)
                    continue
                self._durable += len(batch)
                self._chunks += 1
                self._wake()
                await asyncio.sleep(GATHER_S)
        finally:
            self._writing = None

    async def _put(self, number: int, chunk: _Chunk) -> None:
        data = msgspec.json.encode(chunk)
        await self._records.put(
            Record(id=self._id(number), kind=KIND, tenant=self._tenant, data=data, due_s=self._due_s)
        )

    async def _drop(self, first: int) -> None:
        await asyncio.gather(*(self._records.delete(self._id(number)) for number in range(first, self._chunks)))

    def _id(self, number: int) -> str:
        return f"{self._name}/{number}"

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def event(kind: str, number: int, more: dict[str, Any]) -> str:
    """One server-sent event of OpenAI's Responses."""
    body = msgspec.json.encode({"type": kind, "sequence_number": number, **more}).decode()
    return f"event: {kind}\ndata: {body}\n\n"


def last(kept: Kept, number: int) -> bytes:
    """How it ended. One that was called off has no event of its own: it is one that is not complete."""
    kind = "incomplete" if kept.status == "cancelled" else kept.status
    return event(f"response.{kind}", number, {"response": kept.view()}).encode()
