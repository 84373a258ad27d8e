"""All files: their records by tenant, their bytes in the object store, which keeps the same bytes once.

A file that is being made or taken away has a record of another kind, which nobody sees: what a killed runner left
half done, the next one takes away. The bytes of a digest are let go when no file has them and none is being made.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from headrace import telemetry
from headrace.errors import Invalid, Transient
from headrace.jobs.file import File
from headrace.ports import Clock, Objects, Page, Record, Records
from headrace.units import US_PER_S

SWEEP_S: Final = 60.0
LEAVING: Final = ".leaving"


class Files:
    """What clients gave and what jobs made. Each `kind` has records and an object store of its own."""

    def __init__(self, records: Records, objects: Objects, clock: Clock, spool: Path, kind: str = "file") -> None:
        """`spool`: a folder for bytes on their way, on the disk of the object store where that is a folder."""
        self._kind, self._leaving = kind, kind + LEAVING
        self._records, self._objects, self._clock = records, objects, clock
        self.spool = spool
        self._making = 0
        self._moving = asyncio.Lock()

    @property
    def now_s(self) -> int:
        """The wall clock, seconds since 1970."""
        return self._clock.now_us() // US_PER_S

    async def keep(self, source: Path, file: File) -> File:
        """Make a file of what `source` holds; durable when this returns. Raises Transient on a full disk.

        What a job made was paid for, and is kept whatever its tenant has; uploads ask `storage` for room first.
        """
        async with self._moving:  # nothing is let go from here on until the file has its record
            self._making += 1
        try:
            await self._records.put(_record(self._leaving, file))
            await self._objects.keep(source, file.digest)
            await self._records.put(_record(self._kind, file))
        finally:
            self._making -= 1
        return file

    def find(self, tenant: str, name: str) -> File:
        """Raises Invalid (404)."""
        found = self._records.get(self._kind, tenant, name)
        file = msgspec.json.decode(found.data, type=File) if found else None
        if file is None or (file.expires_at or self.now_s + 1) <= self.now_s:
            raise Invalid(f"there is no file {name[:60]!r}", param="file_id", code="not_found", status=404)
        return file

    def page(self, tenant: str, page: Page) -> list[File]:
        """A part of a tenant's list, the newest first."""
        found = [msgspec.json.decode(one.data, type=File) for one in self._records.page(self._kind, tenant, page)]
        return [file for file in found if (file.expires_at or self.now_s + 1) > self.now_s]

    def read(self, file: File) -> AsyncIterator[bytes]:
        """Its bytes, in pieces. Raises Permanent when they are gone."""
        return self._objects.read(file.digest)

    async def fetch(self, file: File, into: Path) -> None:
        """A local copy that must not be changed. Raises Permanent or Transient."""
        await self._objects.fetch(file.digest, into)

    async def delete(self, file: File) -> None:
        """From now on it is not there; its bytes go when nobody else has them."""
        await self._records.put(_record(self._leaving, file))
        await self._let_go()

    async def sweep(self) -> None:
        """Take away what has expired, and bytes that could not be let go before."""
        for one in self._records.due(self._kind, self.now_s):
            await self._records.put(_record(self._leaving, msgspec.json.decode(one.data, type=File)))
        await self._let_go()

    async def keep_swept(self) -> None:
        """Sweep now and then, for ever."""
        while True:
            try:
                await self.sweep()
            except Transient as error:
                telemetry.logger().warning("files.not_swept", error=str(error))
            await asyncio.sleep(SWEEP_S)

    @asynccontextmanager
    async def scratch(self, name: str) -> AsyncIterator[Path]:
        """A place for bytes on their way; nothing is left of it at the end."""
        path = self.spool / name
        try:
            yield path
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _let_go(self) -> None:
        async with self._moving:
            if self._making:
                return  # the next sweep does it
            for one in self._records.all(self._leaving):
                if not self._records.held(self._kind, one.digest):
                    await self._objects.delete(one.digest)
                await self._records.delete(one.id)


def _record(kind: str, file: File) -> Record:
    return Record(id=file.id, kind=kind, tenant=file.tenant, data=msgspec.json.encode(file), tag=file.purpose,
                  digest=file.digest, due_s=file.expires_at or 0,
                  bytes=file.bytes if not kind.endswith(LEAVING) else 0)  # fmt: skip
