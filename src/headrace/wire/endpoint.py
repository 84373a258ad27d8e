"""The route table of the data plane: which path takes which body.

Called by the gateway for each POST. GET paths (models, health) are the gateway's own.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from headrace.wire import chat, completions, embeddings, rerank
from headrace.wire.call import Call

__all__ = ["ROUTES", "Call", "Endpoint", "endpoint", "parse"]


class Endpoint(msgspec.Struct, frozen=True):
    """One thing that can be asked: `task` is what a model must be made for to answer it."""

    name: str
    task: str
    read: Callable[[bytes], Call]
    methods: tuple[str, ...] = ("POST",)

    def parse(self, body: bytes) -> Call:
        """The body as a call. Raises Invalid (400, 413) with OpenAI's facts."""
        return self.read(body)


_CHAT: Final = Endpoint("chat.completions", "chat", chat.parse)
_COMPLETIONS: Final = Endpoint("completions", "chat", completions.parse)
_EMBEDDINGS: Final = Endpoint("embeddings", "embed", embeddings.parse)
_RERANK: Final = Endpoint("rerank", "rerank", rerank.parse)
_COHERE: Final = Endpoint("rerank.cohere", "rerank", rerank.parse_cohere)

ROUTES: Final[dict[str, Endpoint]] = {
    "/v1/chat/completions": _CHAT,
    "/v1/completions": _COMPLETIONS,
    "/v1/embeddings": _EMBEDDINGS,
    "/v1/rerank": _RERANK,
    "/v2/rerank": _COHERE,
    "/chat/completions": _CHAT,
    "/completions": _COMPLETIONS,
    "/embeddings": _EMBEDDINGS,
    "/rerank": _RERANK,
}


def endpoint(path: str) -> Endpoint | None:
    """The endpoint behind a path, without its query; None when there is none."""
    return ROUTES.get(path)


def parse(target: Endpoint, body: bytes) -> Call:
    """The same as `target.parse(body)`."""
    return target.read(body)
