"""`GET /v1/models`, and what is told to who asks for something that is not there."""

from urllib.parse import unquote

from headrace.gateway import answers, refusals
from headrace.gateway.directory import Directory
from headrace.gateway.http1 import Head
from headrace.state.table import RouteKey

_SERVED = (
    "/v1/chat/completions, /v1/responses, /v1/messages, /v1/completions, /v1/embeddings, /v1/rerank, /v2/rerank, "
    "/v1/images/..., /v1/audio/..., /v1/models, /headrace/v1/..."
)


def models(directory: Directory, head: Head, key: RouteKey, headers: bytes) -> bytes:
    """All models this key may use, or one of them. Raises Invalid for one that is not there."""
    path = head.path.removeprefix("/v1")
    if path != "/models" and not path.startswith("/models/"):
        message = f"There is nothing at {head.path[:200]}. Served: {_SERVED}"
        return answers.error("not_found", message, headers=headers)
    if head.method != b"GET":
        return refusals.wrong_method(head, b"GET", headers)
    if path == "/models":
        return answers.json({"object": "list", "data": directory.listing(key)}, headers)
    name = unquote(path.removeprefix("/models/"))
    if name not in directory.usable(key):
        directory.find(name, key, "")
    return answers.json(directory.entry(name.partition("@")[0]), headers)
