"""Where large bytes live: named by the SHA-256 of what they hold, so the same bytes are kept once."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol


class Objects(Protocol):
    """Written whole or not at all. Raises Transient where the store cannot be reached or is full."""

    async def put(self, data: bytes) -> str:
        """Keep; the digest. What is there already is not written again."""
        ...

    async def keep(self, file: Path, digest: str) -> None:
        """Keep what a file holds, under its digest. The file stays the caller's, who must not change it any more."""
        ...

    async def get(self, digest: str) -> bytes:
        """What was kept. Raises Permanent when it is gone or damaged."""
        ...

    def read(self, digest: str) -> AsyncIterator[bytes]:
        """The same in pieces, for what is too large for memory. Raises Permanent when it is gone."""
        ...

    async def fetch(self, digest: str, into: Path) -> None:
        """A local file of it. Raises Permanent when it is gone or damaged."""
        ...

    async def delete(self, digest: str) -> None:
        """Let go of it; of what is not there, nothing."""
        ...
