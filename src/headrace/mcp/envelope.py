"""The envelope of the revision 2026-07-28: each request says its version and what its client can; nobody shakes hands.

Older revisions begin with `initialize`. Which of the two a request is, its header tells.
"""

from collections.abc import Mapping
from typing import Any, Final

from headrace.mcp.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, Failed, Message

VERSION: Final = "2026-07-28"
HANDSHAKES: Final = ("2025-11-25", "2025-06-18", "2025-03-26")
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022
_STATUS: Final = {PARSE_ERROR: 400, INVALID_REQUEST: 400, HEADER_MISMATCH: 400, UNSUPPORTED_VERSION: 400}
_STATUS_MODERN: Final = {**_STATUS, INVALID_PARAMS: 400, METHOD_NOT_FOUND: 404}
_META: Final = "io.modelcontextprotocol/"
_NEEDED: Final = (_META + "protocolVersion", _META + "clientCapabilities")
_CACHED: Final = ("server/discover", "tools/list")


def modern(headers: Mapping[str, str]) -> bool:
    """Whether a request has an envelope. Raises Failed for a version that is not spoken here."""
    said = headers.get("mcp-protocol-version", HANDSHAKES[0])
    known = (VERSION, *HANDSHAKES)
    if said not in known:
        message = f"the protocol version {said[:32]!r} is not spoken here; speak {', '.join(known)}"
        raise Failed(UNSUPPORTED_VERSION, message, {"supported": list(known), "requested": said[:32]})
    return said == VERSION


def check(message: Message, headers: Mapping[str, str]) -> None:
    """Hold an envelope against the headers, by which what stands between may have routed it. Raises Failed."""
    meta = message.params.get("_meta")
    missing = [name for name in _NEEDED if not isinstance(meta, dict) or name not in meta]
    if missing:
        raise Failed(INVALID_PARAMS, f"params._meta has no {', '.join(missing)}")
    assert isinstance(meta, dict), "nothing is missing in it"
    told = {"mcp-protocol-version": meta[_NEEDED[0]], "mcp-method": message.method}
    if message.method == "tools/call":
        told["mcp-name"] = message.params.get("name")
    for header, value in told.items():
        if headers.get(header) != value:
            raise Failed(HEADER_MISMATCH, f"the header {header} is not what the body says")


def wrapped(method: object, result: dict[str, Any], info: dict[str, str]) -> dict[str, Any]:
    """A result as this revision has it: whole, named, and kept by nobody."""
    kept = {"ttlMs": 0, "cacheScope": "private"} if method in _CACHED else {}
    return {"resultType": "complete", **kept, **result, "_meta": {_META + "serverInfo": info}}


def status(failed: Failed, *, enveloped: bool) -> int:
    """The HTTP status of an error."""
    return (_STATUS_MODERN if enveloped else _STATUS).get(failed.code, 200)
