"""Large results and artifacts of runs: objects by their digest, each there as long as a run has it.

A run has an object in the journal before the object is put away, so none is ever without a row; what no run has any
more is noted in the journal, too, and taken away by a sweep, which a killed runner's successor goes on with. Of one
digest that comes and goes at the same moment, the coming waits: a row never points at nothing.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from headrace.pipelines.ports import Objects, Runs
from headrace.serving.storage import Storage

Holding = tuple[str, int]  # a digest, and how many bytes it stands for


class Kept(Objects, Protocol):
    """What is needed of `headrace.ports.Objects`."""

    async def delete(self, digest: str) -> None:
        """Let go of it; of what is not there, nothing."""
        ...


class Shelf:
    """The objects of all runs."""

    def __init__(self, objects: Kept, runs: Runs, storage: Storage | None = None) -> None:
        """`storage` bounds what a tenant may keep; None for no bound."""
        self._objects, self._runs, self.storage = objects, runs, storage
        self._sweeping = asyncio.Lock()
        self._coming = Counter[str]()
        self._going: dict[str, asyncio.Event] = {}

    def of(self, tenant: str, run: str) -> "Held":
        """Those of one run."""
        return Held(self, self._runs, tenant, run)

    def check(self, tenant: str, more_bytes: int = 1) -> None:
        """Raises Invalid when a tenant may not keep so much more; see `Storage.check`."""
        if self.storage is not None:
            self.storage.check(tenant, more_bytes)

    async def get(self, digest: str) -> bytes:
        """What was put away. Raises Permanent when it is gone or damaged."""
        return await self._objects.get(digest)

    async def put(self, tenant: str, run: str, data: bytes) -> str:
        """Keep for a run; the digest. Raises Transient where the store cannot be reached or is full."""
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        self._coming[digest] += 1
        try:
            await self._runs.hold(tenant, run, [(digest, len(data))])
            if (going := self._going.get(digest)) is not None:
                await going.wait()
            return await self._objects.put(data)
        finally:
            self._coming[digest] -= 1

    async def sweep(self) -> None:
        """Take away what no run has."""
        async with self._sweeping:
            for digest in self._runs.loose():
                if not self._coming[digest]:
                    await self._take_away(digest)
            self._coming = +self._coming

    async def _take_away(self, digest: str) -> None:
        going = self._going[digest] = asyncio.Event()
        try:
            if not self._runs.held(digest):
                await self._objects.delete(digest)
            await self._runs.let_go(digest)
        finally:
            del self._going[digest]
            going.set()


class Held:
    """The objects of one run."""

    def __init__(self, shelf: Shelf, runs: Runs, tenant: str, run: str) -> None:
        self._shelf, self._runs, self._tenant, self._run = shelf, runs, tenant, run
        self._known: set[str] = set()

    async def put(self, data: bytes) -> str:
        """Keep; the digest. Raises Transient where the store cannot be reached or is full."""
        digest = await self._shelf.put(self._tenant, self._run, data)
        self._known.add(digest)
        return digest

    async def get(self, digest: str) -> bytes:
        """What was put away. Raises Permanent when it is gone or damaged."""
        return await self._shelf.get(digest)

    def check(self) -> None:
        """Raises Invalid when its tenant may keep nothing more."""
        self._shelf.check(self._tenant)

    async def hold(self, found: Iterable[Holding]) -> None:
        """What another run has made is this one's as well from now on: durable when this returns."""
        new = {digest: size for digest, size in found if digest not in self._known}
        if new:
            await self._runs.hold(self._tenant, self._run, list(new.items()))
            self._known |= new.keys()


class Passing:
    """Objects of an estimate: in memory, and gone with it."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    async def put(self, data: bytes) -> str:
        """See `ports.Objects`."""
        digest = hashlib.sha256(data).hexdigest()
        self._kept[digest] = data
        return digest

    async def get(self, digest: str) -> bytes:
        """See `ports.Objects`."""
        return self._kept[digest]
