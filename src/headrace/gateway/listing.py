"""`GET /v1/models`, and what is told to who asks for something that is not there."""

from urllib.parse import unquote

from headrace.gateway import answers, refusals
from headrace.gateway.directory import Directory
from headrace.gateway.http1 import Head
from headrace.state.table import RouteKey


def models(directory: Directory, head: Head, key: RouteKey, headers: bytes) -> bytes:
    """All models this key may use, or one of them. Raises Invalid for one that is not there."""
    path = head.path.removeprefix("/v1")
    if path != "/models" and not path.startswith("/models/"):
        return refusals.nothing_there(head, headers)
    if head.method != b"GET":
        return refusals.wrong_method(head, b"GET", headers)
    if path == "/models":
        return answers.json({"object": "list", "data": directory.listing(key)}, headers)
    name = unquote(path.removeprefix("/models/"))
    if name not in directory.usable(key):
        directory.find(name, key, "")
    return answers.json(directory.entry(name.partition("@")[0]), headers)
