"""Other servers, as tools reach them: addresses that are public, and hosts that the operator has named.

A pipeline is its tenant's, but it is run here, inside the operator's network. So an address that is not public
(loopback, private, link-local) is refused unless the operator's HEADRACE_TOOL_HOSTS names its host. The name is looked
up once and that very address is connected to, so that a second answer of the name server changes nothing. Redirects are
not followed, proxies of the environment not used.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Final

import h11

from headrace.errors import Permanent, Refused, Unreachable
from headrace.pipelines.ports import Fetched
from headrace.specs.agent import host_of

_PIECE: Final = 1 << 16
_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")  # IPv4 behind NAT64, RFC 6052


class OpenWeb:
    """`ports.Web` over HTTP/1.1, one connection a request. `hosts` are HOST or HOST:PORT."""

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.strip().lower() for host in hosts)
        self._tls = ssl.create_default_context()

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes, most_bytes: int) -> Fetched:
        """See `ports.Web`."""
        scheme, host, port = host_of(url)
        addresses = await self._addresses(host, port)
        try:
            reader, writer = await self._connected(addresses, scheme, host, port)
            try:
                return await _talk(reader, writer, _request(method, url, headers, body), body, most_bytes)
            finally:
                writer.close()
        except (OSError, h11.RemoteProtocolError) as error:
            raise Unreachable(f"{host}:{port} cannot be reached: {str(error)[:200] or type(error).__name__}") from None

    async def _connected(
        self, addresses: list[str], scheme: str, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The first address that can be connected to. Raises OSError."""
        tls, name = (self._tls, host) if scheme == "https" else (None, None)
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(address, port, ssl=tls, server_hostname=name)
        return await asyncio.open_connection(addresses[-1], port, ssl=tls, server_hostname=name)

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"the host {host} has no address: {error}") from None
        named = host in self._hosts or f"{host}:{port}" in self._hosts
        addresses = [str(where[0]) for *_, where in found]
        if not named and not all(map(public, addresses)):
            raise Refused(
                f"{host}:{port} is not a public address; who runs this cloud may allow it with HEADRACE_TOOL_HOSTS",
                status=403,
                code="permission_denied",
            )
        return addresses


def public(text: str) -> bool:
    """Whether an address is one of the open internet.

    >>> [public(one) for one in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::7f00:1")]
    [False, False, False, False, False]
    >>> public("93.184.215.14")
    True
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _TRANSLATED or address.sixtofour is not None or address.teredo is not None:
            return False  # an IPv4 address in disguise
    return address.is_global and not address.is_multicast


def _request(method: str, url: str, headers: Mapping[str, str], body: bytes) -> h11.Request:
    scheme, host, port = host_of(url)
    target = url.split("://", 1)[1]
    target = target[target.index("/") :] if "/" in target else "/"
    shown = f"[{host}]" if ":" in host else host
    usual = port == (443 if scheme == "https" else 80)
    given = {"host": shown if usual else f"{shown}:{port}", "connection": "close", "user-agent": "headrace",
             "accept": "application/json, text/*"}  # fmt: skip
    given |= {name.lower(): value for name, value in headers.items()}
    if body or method != "GET":
        given["content-length"] = str(len(body))
    return h11.Request(method=method, target=target, headers=list(given.items()))


async def _talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: h11.Request, body: bytes, most_bytes: int
) -> Fetched:
    line = h11.Connection(h11.CLIENT)
    writer.write(line.send(request) or b"")
    if body:
        writer.write(line.send(h11.Data(data=body)) or b"")
    writer.write(line.send(h11.EndOfMessage()) or b"")
    status, headers, parts, size = 0, dict[str, str](), list[bytes](), 0
    while True:
        event = line.next_event()
        if event is h11.NEED_DATA:
            line.receive_data(await reader.read(_PIECE))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        elif isinstance(event, h11.Data):
            parts.append(bytes(event.data))
            size += len(event.data)
            if size > most_bytes:
                raise Permanent(f"the answer has more than {most_bytes} bytes; ask for less")
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed) or event is h11.PAUSED:
            kind = headers.get("content-type", "")
            return Fetched(status=status, content_type=kind, body=b"".join(parts), headers=headers)
