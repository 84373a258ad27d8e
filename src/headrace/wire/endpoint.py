"""The route table of the data plane: which path takes which body.

Called by the gateway for each POST. GET paths (models, health) are the gateway's own.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from headrace.wire import (
    anthropic,
    chat,
    completions,
    embeddings,
    films,
    images,
    pictures,
    rerank,
    responses,
    speech,
    transcripts,
)
from headrace.wire.anthropic_answer import AnthropicVoice
from headrace.wire.call import Call
from headrace.wire.responses_stream import VOICE
from headrace.wire.voice import OPENAI, Voice

__all__ = ["ROUTES", "Call", "Endpoint", "body_bytes_max", "endpoint", "parse"]

BODY_BYTES_MAX: Final = 16 << 20
FILES_BYTES_MAX: Final = 64 << 20  # of a body that carries files


class Endpoint(msgspec.Struct, frozen=True):
    """One thing that can be asked: `task` is what a model must be made for to answer it.

    `read` takes a JSON body; `form`, where given, takes a body and its content type instead.
    `counts`: the prompt is counted and not run. `voice` words the errors of a request, by its id, where that is not
    done as OpenAI's chat does.
    """

    name: str
    task: str
    read: Callable[[bytes], Call] | None = None
    form: Callable[[bytes, bytes], Call] | None = None
    methods: tuple[str, ...] = ("POST",)
    counts: bool = False
    voice: Callable[[str], Voice] | None = None

    def parse(self, body: bytes, content_type: bytes = b"") -> Call:
        """The body as a call. Raises Invalid (400, 413) with OpenAI's facts."""
        if self.read is not None:
            return self.read(body)
        assert self.form is not None, "an endpoint reads one or the other"
        return self.form(body, content_type)


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
_IMAGES: Final = Endpoint("images.generations", "image", form=images.parse)
_IMAGE_EDITS: Final = Endpoint("images.edits", "image", form=images.parse_edit)
_UPSCALE: Final = Endpoint("images.upscale", "upscale", form=images.parse_upscale)
_TRANSCRIPTIONS: Final = Endpoint("audio.transcriptions", "transcribe", form=transcripts.parse)
_TRANSLATIONS: Final = Endpoint("audio.translations", "transcribe", form=transcripts.parse_translation)
_SPEECH: Final = Endpoint("audio.speech", "speak", form=speech.parse)
_FILMS: Final = Endpoint("videos.generations", "video", form=films.parse)

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
    pictures.GENERATIONS: _IMAGES,
    pictures.EDITS: _IMAGE_EDITS,
    pictures.UPSCALE: _UPSCALE,
    transcripts.TRANSCRIPTIONS: _TRANSCRIPTIONS,
    transcripts.TRANSLATIONS: _TRANSLATIONS,
    speech.PATH: _SPEECH,
    films.PATH: _FILMS,
}


_WITH_FILES: Final = (pictures.EDITS, pictures.UPSCALE, "/v1/audio/", "/v1/videos", "/headrace/v1/runs")


def endpoint(path: str) -> Endpoint | None:
    """The endpoint behind a path, without its query; None when there is none."""
    return ROUTES.get(path)


def body_bytes_max(path: str) -> int:
    """The largest body that a path takes."""
    return FILES_BYTES_MAX if path.startswith(_WITH_FILES) else BODY_BYTES_MAX


def voice_of(path: str, request_id: str) -> Voice:
    """How the errors of a request to that path are worded."""
    target = ROUTES.get(path)
    return OPENAI if target is None or target.voice is None else target.voice(request_id)


def parse(target: Endpoint, body: bytes, content_type: bytes = b"") -> Call:
    """The same as `target.parse(body, content_type)`."""
    return target.parse(body, content_type)
