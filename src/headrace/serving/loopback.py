"""The models of this cloud as the runner asks them: through the public door, held for, metered and priced like all.

The runner keeps no key: it acts for a key's holder by a proof made of the pepper and the key's id, so a key that is
revoked is refused from then on. A call that is cancelled closes its connection, which the gateway settles.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.errors import Unreachable
from headrace.serving.streamed import Line as _Line
from headrace.serving.streamed import Streamed
from headrace.state import keys

BODY_BYTES_MAX: Final = 256 << 20  # of an answer


class Answered(msgspec.Struct, frozen=True):
    """What the gateway answered. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Loopback:
    """HTTP/1.1 to the gateway of this machine. `keep`: how many idle connections wait for the next call.

    One that was closed while it was idle is not used. One that breaks off before it answers is replaced and the call
    sent again, without a word, where `again` says so: for who sends an `idempotency-key` with all that costs, and
    counts what the gateway's records say. Else the caller is told, since the call may have begun.
    """

    def __init__(self, host: str, port: int, pepper: bytes, *, keep: int = 0, again: bool = True) -> None:
        self._keep, self._again = keep, again
        self._at = ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - compared
        self._pepper = pepper
        self._idle: list[_Line] = []

    async def send(
        self, method: str, path: str, *, key: str, data: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answered:
        """Send JSON as the holder of a key. Raises Unreachable when the gateway is not there or breaks off."""
        whole = self._whole(f"{method} {path}", key, data, headers)
        try:
            while (line := self._kept()) is not None:
                head = await self._head(line, whole)
                if head:  # else it was closed just now
                    return await self._rest(line, head)
                if not self._again:
                    raise EOFError("no answer")
            line = await asyncio.open_connection(*self._at, limit=1 << 16)
            if not (head := await self._head(line, whole)):
                raise EOFError("no answer")
            return await self._rest(line, head)
        except (OSError, EOFError, ValueError, KeyError, IndexError, asyncio.LimitOverrunError) as error:
            raise Unreachable(f"the gateway broke off: {error!r}") from None

    async def stream(self, path: str, *, key: str, data: bytes, headers: Mapping[str, str]) -> Streamed:
        """Send the same as a POST; the answer is read while it comes. Raises Unreachable."""
        whole = self._whole(f"POST {path}", key, data, {**headers, "connection": "close"})
        try:
            line = await asyncio.open_connection(*self._at, limit=1 << 16)
            if not (head := await self._head(line, whole)):
                raise EOFError("no answer")
            return Streamed(line, *_parsed(head))
        except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
            raise Unreachable(f"the gateway broke off: {error!r}") from None

    def close(self) -> None:
        """Let go of the connections that are kept."""
        while (line := self._kept()) is not None:
            line[1].close()

    def _whole(self, target: str, key: str, data: bytes, headers: Mapping[str, str] | None) -> bytes:
        given = {"host": "headrace", "authorization": f"Bearer {keys.acting(self._pepper, key)}",
                 "content-type": "application/json", "content-length": str(len(data)),
                 **({} if self._keep else {"connection": "close"}), **(headers or {})}  # fmt: skip
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return f"{target} HTTP/1.1\r\n{lines}\r\n".encode() + data

    def _kept(self) -> _Line | None:
        while self._idle:
            line = self._idle.pop()
            if not line[0].at_eof():
                return line
            line[1].close()
        return None

    async def _head(self, line: _Line, whole: bytes) -> bytes:
        """Send all of it; the head that answers, empty when the connection had been closed before."""
        reader, writer = line
        try:
            writer.write(whole)
            await writer.drain()
            return await reader.readuntil(b"\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            writer.close()
            if isinstance(error, asyncio.IncompleteReadError) and error.partial:
                raise
            return b""
        except BaseException:
            writer.close()
            raise

    async def _rest(self, line: _Line, head: bytes) -> Answered:
        reader, writer = line
        try:
            status, headers = _parsed(head)
            length = int(headers["content-length"])
            if length > BODY_BYTES_MAX:
                raise ValueError(f"an answer of {length} bytes; the limit is {BODY_BYTES_MAX}")
            body = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if headers.get("connection") == "close" or len(self._idle) >= self._keep:
            writer.close()
        else:
            self._idle.append(line)
        return Answered(status, headers, body)


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer. Raises ValueError or IndexError."""
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.split()[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}
