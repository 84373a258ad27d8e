"""Large results of steps: files named by the digest of what they hold, written whole or not at all."""

import asyncio
import hashlib
import os
from pathlib import Path

from headrace.errors import Permanent


class FileObjects:
    """`pipelines.ports.Objects` in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    async def put(self, data: bytes) -> str:
        """See `ports.Objects`. What is there already is not written again."""
        return await asyncio.to_thread(self._put, data)

    def _put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = self._folder / digest
        if not path.exists():
            beside = path.with_suffix(f".{os.getpid()}")
            with beside.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            beside.replace(path)
        return digest

    async def get(self, digest: str) -> bytes:
        """See `ports.Objects`."""
        return await asyncio.to_thread(self._get, digest)

    def _get(self, digest: str) -> bytes:
        try:
            data = (self._folder / digest).read_bytes()
        except OSError as error:
            raise Permanent(f"the object {digest} cannot be read: {error.strerror}") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise Permanent(f"the object {digest} is damaged; use: headrace pipeline retry --from STEP")
        return data
