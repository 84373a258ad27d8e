"""The route table of the data plane: which path takes which body.

Called by the gateway for each POST. GET paths (models, health) are the gateway's own.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from headrace.wire import anthropic, chat, completions, embeddings, rerank, responses
from headrace.wire.anthropic_answer import AnthropicVoice
from headrace.wire.call import Call
from headrace.wire.responses_stream import VOICE
from headrace.wire.voice import OPENAI, Voice

__all__ = ["ROUTES", "Call", "Endpoint", "endpoint", "parse"]


class Endpoint(msgspec.Struct, frozen=True):
    """One thing that can be asked: `task` is what a model must be made for to answer it.

    `counts`: the prompt is counted and not run. `voice` words the errors of a request, by its id, where that is not
    done as OpenAI's chat does.
    """

    name: str
    task: str
    read: Callable[[bytes], Call]
    methods: tuple[str, ...] = ("POST",)
    counts: bool = False
    voice: Callable[[str], Voice] | None = None

    def parse(self, body: bytes) -> Call:
        """The body as a call. Raises Invalid (400, 413) with OpenAI's facts."""
        return self.read(body)


_CHAT: Final = Endpoint("chat.completions", "chat", chat.parse)
_COMPLETIONS: Final = Endpoint("completions", "chat", completions.parse)
_EMBEDDINGS: Final = Endpoint("embeddings", "embed", embeddings.parse)
_RESPONSES: Final = Endpoint("responses", "chat", responses.parse, voice=lambda _: VOICE)
_RESPONSES_COUNT: Final = Endpoint("responses.input_tokens", "chat", responses.parse_count, counts=True)
_MESSAGES: Final = Endpoint("messages", "chat", anthropic.parse, voice=AnthropicVoice)
_MESSAGES_COUNT: Final = Endpoint(
    "messages.count_tokens", "chat", anthropic.parse_count, counts=True, voice=AnthropicVoice
)
_RERANK: Final = Endpoint("rerank", "rerank", rerank.parse)
_COHERE: Final = Endpoint("rerank.cohere", "rerank", rerank.parse_cohere)

ROUTES: Final[dict[str, Endpoint]] = {
    "/v1/chat/completions": _CHAT,
    "/v1/completions": _COMPLETIONS,
    "/v1/embeddings": _EMBEDDINGS,
    "/v1/responses": _RESPONSES,
    "/v1/responses/input_tokens": _RESPONSES_COUNT,
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": _MESSAGES_COUNT,
    "/v1/rerank": _RERANK,
    "/v2/rerank": _COHERE,
    "/chat/completions": _CHAT,
    "/completions": _COMPLETIONS,
    "/embeddings": _EMBEDDINGS,
    "/responses": _RESPONSES,
    "/responses/input_tokens": _RESPONSES_COUNT,
    "/rerank": _RERANK,
}


def endpoint(path: str) -> Endpoint | None:
    """The endpoint behind a path, without its query; None when there is none."""
    return ROUTES.get(path)


def voice_of(path: str, request_id: str) -> Voice:
    """How the errors of a request to that path are worded."""
    target = ROUTES.get(path)
    return OPENAI if target is None or target.voice is None else target.voice(request_id)


def parse(target: Endpoint, body: bytes) -> Call:
    """The same as `target.parse(body)`."""
    return target.read(body)
