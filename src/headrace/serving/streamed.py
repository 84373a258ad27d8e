"""An answer of the gateway that is read while it comes: events, one by one."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

from headrace.errors import Unreachable

EVENT_BYTES_MAX: Final = 64 << 20
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Streamed:
    """Closing it calls off what the gateway does for it. Header names are lower case."""

    def __init__(self, line: Line, status: int, headers: Mapping[str, str]) -> None:
        self._reader, self._writer = line
        self.status, self.headers = status, headers

    async def whole(self) -> bytes:
        """All of an answer that has a length: a refusal, say. Raises Unreachable."""
        try:
            return await self._reader.readexactly(int(self.headers["content-length"]))
        except (OSError, EOFError, ValueError, KeyError) as error:
            raise Unreachable(f"the gateway broke off: {error!r}") from None

    async def events(self) -> AsyncIterator[bytes]:
        """Whole events and comments, each with its end. Raises Unreachable when the stream is cut."""
        rest = b""
        try:
            while piece := await self._chunk():
                *events, rest = (rest + piece).split(b"\n\n")
                for event in events:
                    yield event + b"\n\n"
                if len(rest) > EVENT_BYTES_MAX:
                    raise ValueError(f"an event is larger than {EVENT_BYTES_MAX} bytes")
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise Unreachable(f"the gateway broke off: {error!r}") from None

    def close(self) -> None:
        """Read no more."""
        self._writer.close()

    async def _chunk(self) -> bytes:
        """The next chunk of the body, empty at its end."""
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        return (await self._reader.readexactly(size + 2))[:-2]
