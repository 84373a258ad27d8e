"""`POST /v1/audio/speech`: words in, a voice out. Metered by the characters that are spoken."""

import base64
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from headrace import errors
from headrace.state.table import Ability, Media
from headrace.wire import sampling
from headrace.wire.call import Call
from headrace.wire.reading import read, size_of, unsupported
from headrace.wire.usage import Counts

PATH: Final = "/v1/audio/speech"
INPUT_MAX: Final = 4_096
_PIECE: Final = 24 << 10  # bytes of sound in an event; a multiple of 3, so that base64 needs no padding within
TYPES: Final[dict[str, bytes]] = {
    "mp3": b"audio/mpeg",
    "opus": b"audio/ogg",
    "aac": b"audio/aac",
    "flac": b"audio/flac",
    "wav": b"audio/wav",
    "pcm": b"audio/pcm",
}
# What files of these kinds begin with; pcm has no head, aac frames one of several.
_OPENINGS: Final[dict[str, tuple[bytes, ...]]] = {
    "mp3": (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"),
    "opus": (b"OggS",),
    "flac": (b"fLaC",),
    "wav": (b"RIFF",),
}


class Voice(msgspec.Struct, forbid_unknown_fields=True):
    """A voice by its id."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]


class SpeechRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything a client may send."""

    model: sampling.Model
    input: Annotated[str, Meta(min_length=1, max_length=INPUT_MAX)]
    voice: Annotated[str, Meta(min_length=1, max_length=64)] | Voice
    instructions: Annotated[str, Meta(max_length=4_096)] | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None
    stream_format: Literal["sse", "audio"] | None = None


_DECODER: Final = msgspec.json.Decoder(SpeechRequest)


class SpeechCall(Call, kw_only=True):
    """Words that are to be spoken."""

    request: SpeechRequest

    @property
    def form(self) -> str:
        """The format of the answer."""
        return self.request.response_format or "mp3"

    def render(
        self,
        ability: Ability,
        upstream_model: str,
        output_default: int,  # noqa: ARG002 - nothing is generated
        context_tokens: int,  # noqa: ARG002 - there is no context
    ) -> tuple[str, bytes]:
        """See `Call.render`."""
        request, takes = self.request, ability.media or Media()
        voice = request.voice if isinstance(request.voice, str) else request.voice.id
        if takes.voices and voice not in takes.voices:
            known = ", ".join(takes.voices[:40])
            raise errors.Invalid(
                f"Invalid value for 'voice': {voice!r}; this model has {known}.",
                param="voice",
                code="unsupported_value",
            )
        if takes.formats and self.form not in takes.formats:
            raise unsupported("response_format", f"as {self.form} is not made by this model")
        if request.instructions and "instructions" not in ability.parameters and ability.dialect != "openai":
            raise unsupported("instructions")
        out = {"model": upstream_model, "input": request.input, "voice": voice, "response_format": self.form}
        if request.instructions:
            out["instructions"] = request.instructions
        return PATH, msgspec.json.encode({**out, "speed": request.speed or 1.0})

    def counts(self, body: bytes, dialect: str) -> Counts | None:  # noqa: ARG002 - what is spoken is known before
        """See `Call.counts`: the characters that were asked for."""
        return Counts(items=self.items)

    def guess(self, *, output_bytes: int = 0, pieces: int = 0) -> Counts:  # noqa: ARG002 - as above
        """See `Call.guess`."""
        return Counts(items=self.items)

    def finish(self, body: bytes, request_id: str, counts: Counts | None = None) -> bytes:  # noqa: ARG002 - sound has neither
        """See `Call.finish`: the sound as it is, if it is any."""
        if not body or not body.startswith(_OPENINGS.get(self.form, (b"",))):
            raise errors.Transient(f"the engine gave something that is no {self.form}")
        return body

    def finish_stream(self, body: bytes, request_id: str, created_s: int, counts: Counts | None = None) -> list[bytes]:  # noqa: ARG002 - sound has neither
        """See `Call.finish_stream`: pieces of the sound."""
        self.finish(body, request_id)
        events = [
            _event({"type": "speech.audio.delta", "audio": base64.b64encode(body[at : at + _PIECE]).decode()})
            for at in range(0, len(body), _PIECE)
        ]
        usage: dict[str, object] = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        if counts is not None and counts.bill is not None:
            usage["headrace"] = counts.bill
        events.append(_event({"type": "speech.audio.done", "usage": usage}))
        return events


def parse(body: bytes, content_type: bytes) -> Call:  # noqa: ARG001 - the signature is the endpoint's
    """The body of a speech request. Raises Invalid."""
    request = read(_DECODER, body, SpeechRequest.__struct_fields__)
    size_of(request.input)
    stream = request.stream_format == "sse"
    return SpeechCall(
        model=request.model,
        task="speak",
        endpoint="audio.speech",
        stream=stream,
        buffered=stream,
        include_usage=stream,
        items=len(request.input),
        output_max=0,
        answer_type=TYPES[request.response_format or "mp3"],
        request=request,
    )


def _event(value: dict[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
