"""`GET /v1/models`, and what is told to who asks for something that is not there."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from headrace.gateway import answers, refusals
from headrace.gateway.directory import Directory
from headrace.gateway.http1 import Head
from headrace.state.table import RouteKey


def models(directory: Directory, head: Head, key: RouteKey, headers: bytes) -> bytes:
    """All models this key may use, or one of them; clients of Anthropic get its form of them. Raises Invalid (404)."""
    path = head.path.removeprefix("/v1")
    if path != "/models" and not path.startswith("/models/"):
        return refusals.nothing_there(head, headers)
    if head.method != b"GET":
        return refusals.wrong_method(head, b"GET", headers)
    theirs = b"anthropic-version" in head.headers
    if path == "/models":
        found = directory.listing(key)
        return answers.json(_page(found) if theirs else {"object": "list", "data": found}, headers)
    name = unquote(path.removeprefix("/models/"))
    if name not in directory.usable(key):
        directory.find(name, key, "")
    entry = directory.entry(name.partition("@")[0])
    return answers.json(_theirs(entry) if theirs else entry, headers)


def _page(found: list[dict[str, Any]]) -> dict[str, Any]:
    """All of them, in one page."""
    ends = (found[0]["id"], found[-1]["id"]) if found else (None, None)
    return {"data": [_theirs(entry) for entry in found], "has_more": False, "first_id": ends[0], "last_id": ends[1]}


def _theirs(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "model",
        "id": entry["id"],
        "display_name": entry["id"],
        "created_at": datetime.fromtimestamp(entry["created"], UTC).isoformat(),
        "lifecycle": "active",
        "max_input_tokens": entry["context_length"] or None,
        "task": entry["task"],
    }
