"""JSON-RPC 2.0 as MCP has it: one message in, at most one out. Pure.

Batches are refused, as the protocol has had none since 2025-06-18.
"""

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603

Id = str | int | None


class Failed(Exception):
    """A message that gets an error for an answer. `data` is for programs."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class Message(msgspec.Struct, kw_only=True):
    """A request, a notification (without `id`), or an answer to something that was never asked (without `method`)."""

    jsonrpc: Literal["2.0"]
    method: str | UnsetType = UNSET
    id: str | int | UnsetType | None = UNSET
    params: dict[str, Any] = {}

    @property
    def wants_answer(self) -> bool:
        """Whether this is a request."""
        return self.method is not UNSET and self.id is not UNSET

    @property
    def asked(self) -> Id:
        """The id that its answer has."""
        return None if self.id is UNSET else self.id


_DECODER: Final = msgspec.json.Decoder(Message)


def read(body: bytes) -> Message:
    """One message. Raises Failed."""
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        what = "send one message, not a batch" if body.lstrip().startswith(b"[") else str(error)
        raise Failed(INVALID_REQUEST, f"not a JSON-RPC 2.0 message: {what}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Failed(PARSE_ERROR, "the body is not valid JSON") from None


def result(to: Id, value: Any) -> bytes:
    """The answer to the request of that id."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": to, "result": value})


def failure(to: Id, failed: Failed) -> bytes:
    """The error that answers it; an id of None when it could not be read."""
    error: dict[str, Any] = {"code": failed.code, "message": failed.message}
    if failed.data is not None:
        error["data"] = failed.data
    return msgspec.json.encode({"jsonrpc": "2.0", "id": to, "error": error})
