"""Asks one server whether it is well. A process that is stopped does not answer, and that is what is looked for."""

import asyncio
from typing import Final
from urllib.parse import urlsplit

ANSWER_S: Final = 2.0


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
    return bool(status) and status[0].isdigit() and int(status[0]) < 500
