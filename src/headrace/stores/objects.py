"""Large bytes in a folder: files named by the digest of what they hold, written whole or not at all."""

import asyncio
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from headrace.errors import Permanent, Transient

PIECE_BYTES: Final = 1 << 18


class FileObjects:
    """`ports.Objects` in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    async def put(self, data: bytes) -> str:
        """See `ports.Objects`."""
        return await asyncio.to_thread(self._put, data)

    async def keep(self, file: Path, digest: str) -> None:
        """See `ports.Objects`. A link where the file system allows it, so nothing is copied."""
        await asyncio.to_thread(self._keep, file, digest)

    async def get(self, digest: str) -> bytes:
        """See `ports.Objects`."""
        data = await asyncio.to_thread(self._get, digest)
        if hashlib.sha256(data).hexdigest() != digest:
            raise damaged(digest)
        return data

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        """See `ports.Objects`."""
        with self._there(digest):
            source = await asyncio.to_thread((self._folder / digest).open, "rb")
        with source:
            while data := await asyncio.to_thread(source.read, PIECE_BYTES):
                yield data

    async def fetch(self, digest: str, into: Path) -> None:
        """See `ports.Objects`. A link where the file system allows it: the caller only reads."""
        await asyncio.to_thread(self._fetch, digest, into)

    async def delete(self, digest: str) -> None:
        """See `ports.Objects`."""
        await asyncio.to_thread((self._folder / digest).unlink, missing_ok=True)

    def _put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        if not (self._folder / digest).exists():
            beside = self._beside()
            with _room(beside):
                with beside.open("wb") as out:
                    out.write(data)
                    out.flush()
                    os.fsync(out.fileno())
                self._name(beside, digest)
        return digest

    def _keep(self, file: Path, digest: str) -> None:
        if not (self._folder / digest).exists():
            beside = self._beside()
            with _room(beside):
                _link(file, beside)
                with beside.open("rb") as data:
                    os.fsync(data.fileno())
                self._name(beside, digest)

    def _name(self, beside: Path, digest: str) -> None:
        beside.replace(self._folder / digest)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _get(self, digest: str) -> bytes:
        with self._there(digest):
            return (self._folder / digest).read_bytes()

    def _fetch(self, digest: str, into: Path) -> None:
        with self._there(digest):
            found = file_digest(self._folder / digest)
        if found != digest:
            raise damaged(digest)
        with _room(into):
            _link(self._folder / digest, into)

    def _beside(self) -> Path:
        return self._folder / f".{secrets.token_hex(8)}"

    @contextmanager
    def _there(self, digest: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Permanent(f"the object {digest} cannot be read: {error.strerror}") from None


def file_digest(file: Path) -> str:
    """The SHA-256 of what a file holds."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def damaged(digest: str) -> Permanent:
    """What is said of bytes that are not what they were."""
    return Permanent(f"the object {digest} is damaged: its bytes are not what was kept")


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)


@contextmanager
def _room(made: Path) -> Iterator[None]:
    """Nothing is left of what could not be written."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            made.unlink(missing_ok=True)
        raise Transient(f"the object store cannot be written: {error.strerror}", delay_us=1_000_000) from None
