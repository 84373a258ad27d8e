"""One question to a worker's own HTTP server: is it there, and will it sleep or wake. Only its status is read."""

import asyncio


async def status_of(address: str, method: str, path: str, body: str = "", *, timeout_s: float) -> int:
    """The status that `unix:/path` or `http://host:port` answers with; 0 for none in time."""
    kind = "content-type: application/json\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{kind}content-length: {len(body.encode())}\r\n"
    try:
        async with asyncio.timeout(timeout_s):
            if address.startswith("unix:"):
                reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
            else:
                host, _, port = address.removeprefix("http://").rpartition(":")
                reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            try:
                writer.write(f"{head}connection: close\r\n\r\n{body}".encode())
                status = (await reader.readline()).split()[1:2]
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return 0
    return int(status[0]) if status and status[0].isdigit() else 0
