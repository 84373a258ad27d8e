"""Tools of MCP servers, over their streamable HTTP transport (Model Context Protocol, 2025-06-18).

Each listing and each call is a session of its own: initialise, ask, gone. What a server keeps between calls of one
session is not used, so that a run that goes on after a crash needs nothing of the one before.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.pipelines.ports import Fetched, Web
from headrace.pipelines.tools import ToolError

PROTOCOL: Final = "2025-06-18"
ANSWER_BYTES_MAX: Final = 1 << 20
PAGES_MAX: Final = 10
_ODD: Final = re.compile(r"[^a-zA-Z0-9_-]")  # what no name of a function in a chat request may have
_HELLO: Final = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": {"name": "headrace", "version": "1"}}


class Session:
    """One conversation with a server. Every method raises ToolError, Unreachable, Refused or Permanent."""

    def __init__(self, web: Web, url: str, headers: Mapping[str, str]) -> None:
        self._web, self._url = web, url
        self._headers = {"accept": "application/json, text/event-stream", "content-type": "application/json", **headers}
        self._ids = 0

    async def begin(self) -> None:
        """Shake hands."""
        found = await self._ask("initialize", _HELLO)
        version = found.get("protocolVersion", PROTOCOL) if isinstance(found, dict) else PROTOCOL
        self._headers["mcp-protocol-version"] = str(version)
        await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def tools(self) -> list[dict[str, Any]]:
        """What the server offers: name (and as a model may be told it), description, schema of the arguments."""
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {}
        for _ in range(PAGES_MAX):
            page = await self._ask("tools/list", params)
            found += [
                {"name": str(one["name"]), "offered": _ODD.sub("_", str(one["name"]))[:64],
                 "description": str(one.get("description") or one["name"]),
                 "parameters": one.get("inputSchema") or {"type": "object", "properties": {}}}
                for one in page["tools"]
            ]  # fmt: skip
            if not page.get("nextCursor"):
                break
            params = {"cursor": page["nextCursor"]}
        return found

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """What a tool says, its texts one below the other."""
        found = await self._ask("tools/call", {"name": name, "arguments": arguments})
        said = [part for part in found.get("content", ()) if isinstance(part, dict)]
        text = "\n".join(str(part.get("text", "")) for part in said if part.get("type") == "text")
        if not text and "structuredContent" in found:
            text = msgspec.json.encode(found["structuredContent"]).decode()
        if found.get("isError"):
            raise ToolError(text or f"{name} failed", final=True)
        return text

    async def _ask(self, method: str, params: dict[str, Any]) -> Any:
        self._ids += 1
        found = await self._post({"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params})
        for message in _messages(found):
            if message.get("id") == self._ids:
                if "error" in message:
                    raise ToolError(
                        f"the server refused {method}: {str(message['error'].get('message'))[:300]}", final=True
                    )
                return message.get("result") or {}
        raise ToolError(f"the server did not answer {method}")

    async def _post(self, message: dict[str, Any]) -> Fetched:
        data = msgspec.json.encode(message)
        found = await self._web.fetch("POST", self._url, self._headers, data, ANSWER_BYTES_MAX)
        if found.status >= 400 or 300 <= found.status < 400:
            raise ToolError(f"the server answered {found.status}", final=found.status < 500)
        if session := found.headers.get("mcp-session-id"):
            self._headers["mcp-session-id"] = session
        return found


async def opened(web: Web, url: str, headers: Mapping[str, str]) -> Session:
    """A session that has begun."""
    session = Session(web, url, headers)
    await session.begin()
    return session


def _messages(found: Fetched) -> list[dict[str, Any]]:
    """The JSON-RPC messages of an answer: one, or those of a stream of events. Raises ToolError."""
    try:
        if "event-stream" not in found.content_type:
            one = msgspec.json.decode(found.body or b"{}")
            return [part for part in (one if isinstance(one, list) else [one]) if isinstance(part, dict)]
        events = found.body.replace(b"\r\n", b"\n").split(b"\n\n")
        texts = (
            b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")) for event in events
        )
        return [one for text in texts if text and isinstance(one := msgspec.json.decode(text), dict)]
    except (msgspec.MsgspecError, RecursionError):
        raise ToolError("the server's answer is not JSON-RPC", final=True) from None
