"""Large bytes in an S3-compatible store, under the digest of what they hold.

Loaded only where `HEADRACE_OBJECTS` names a bucket. Credentials, region and endpoint are those of the standard AWS
environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...), which obstore reads itself.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from headrace.errors import Invalid, Permanent, Transient
from headrace.stores.objects import damaged

PIECE_BYTES: Final = 1 << 20


class S3Objects:
    """`ports.Objects` in a bucket. An object is there whole or not at all: S3 shows none before its last part."""

    def __init__(self, address: str, folder: str) -> None:
        """`address` like `s3://bucket/prefix`; `folder` is the last part of every key's prefix. Raises Invalid."""
        url = urlsplit(address)
        if url.scheme != "s3" or not url.netloc:
            raise Invalid(f"HEADRACE_OBJECTS is {address!r}; give s3://BUCKET or s3://BUCKET/PREFIX")
        prefix = "/".join(part for part in (url.path.strip("/"), folder) if part)
        try:
            self._store: Any = S3Store(url.netloc, prefix=prefix, client_options={"allow_http": True})
        except (BaseError, ValueError) as error:
            raise Invalid(f"HEADRACE_OBJECTS is {address!r}, and it cannot be used: {error}") from None

    async def put(self, data: bytes) -> str:
        """See `ports.Objects`."""
        digest = hashlib.sha256(data).hexdigest()
        await self._write(digest, data)
        return digest

    async def keep(self, file: Path, digest: str) -> None:
        """See `ports.Objects`."""
        await self._write(digest, file)

    async def get(self, digest: str) -> bytes:
        """See `ports.Objects`."""
        with _told(digest):
            data = bytes(await (await obstore.get_async(self._store, digest)).bytes_async())
        if hashlib.sha256(data).hexdigest() != digest:
            raise damaged(digest)
        return data

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        """See `ports.Objects`."""
        with _told(digest):
            found = await obstore.get_async(self._store, digest)
            async for piece in found.stream(PIECE_BYTES):
                yield bytes(piece)

    async def fetch(self, digest: str, into: Path) -> None:
        """See `ports.Objects`."""
        known = hashlib.sha256()
        try:
            with into.open("wb") as out:
                async for piece in self.read(digest):
                    known.update(piece)
                    await asyncio.to_thread(out.write, piece)
        except OSError as error:
            raise Transient(f"{into} cannot be written: {error.strerror}", delay_us=1_000_000) from None
        if known.hexdigest() != digest:
            raise damaged(digest)

    async def delete(self, digest: str) -> None:
        """See `ports.Objects`."""
        try:
            with _told(digest):
                await obstore.delete_async(self._store, digest)
        except Permanent:
            return

    async def _write(self, digest: str, data: bytes | Path) -> None:
        try:
            with _told(digest):
                try:
                    await obstore.head_async(self._store, digest)
                except (NotFoundError, FileNotFoundError):
                    await obstore.put_async(self._store, digest, data)
        except Permanent:
            raise Transient("the bucket of HEADRACE_OBJECTS is not there; make it", delay_us=1_000_000) from None


@contextmanager
def _told(digest: str) -> Iterator[None]:
    """The store's errors as ours; their words may hold an address with a signature, so they are not passed on."""
    try:
        yield
    except (NotFoundError, FileNotFoundError):
        raise Permanent(f"the object {digest} is not in the store") from None
    except BaseError as error:
        kind = type(error).__name__.removesuffix("Error")
        raise Transient(f"the object store cannot be used ({kind}); see AWS_* and HEADRACE_OBJECTS",
                        delay_us=1_000_000) from None  # fmt: skip
