"""Active health: asks replicas and foreign servers whether they are well. A process that is stopped does not answer."""

import asyncio
from typing import Final
from urllib.parse import urlsplit

EVERY_S: Final = 1.0
ANSWER_S: Final = 2.0
MISSES_MAX: Final = 3


async def answers(address: str, path: str = "/health") -> bool:
    """Whether `unix:/path` or `http(s)://host:port` answers this path in time with less than 500."""
    try:
        async with asyncio.timeout(ANSWER_S):
            if address.startswith("unix:"):
                reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
                host = "engine"
            else:
                url = urlsplit(address)
                secure = url.scheme == "https"
                host = url.hostname or ""
                reader, writer = await asyncio.open_connection(
                    host, url.port or (443 if secure else 80), ssl=secure or None
                )
                path = url.path.rstrip("/") + path
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                status = (await reader.readline()).split()[1:2]
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False
    return bool(status) and status[0] < b"500"


class Misses:
    """Counts answers that did not come, by replica and incarnation."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def heard(self, replica: str, incarnation: str, well: bool) -> bool:
        """Take one result; True when the replica must be held to be hung."""
        name = (replica, incarnation)
        if well:
            self._counts.pop(name, None)
            return False
        self._counts[name] = self._counts.get(name, 0) + 1
        if self._counts[name] >= MISSES_MAX:
            del self._counts[name]
            return True
        return False
