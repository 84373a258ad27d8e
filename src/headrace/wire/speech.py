"""`POST /v1/audio/speech`: words in, a voice out. Metered by the characters that are spoken."""

import base64
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from headrace import errors
from headrace.state.table import Ability, Media
from headrace.wire import fault, sampling
from headrace.wire.call import Call
from headrace.wire.reading import read, size_of, unsupported
from headrace.wire.sse import StreamMeter
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


class _Told(msgspec.Struct):
    """An event of an engine. `characters` of the text are spoken with it, where it says so."""

    type: str
    audio: str = ""
    characters: int | None = None


_TOLD: Final = msgspec.json.Decoder(_Told)
_DECODER: Final = msgspec.json.Decoder(SpeechRequest)


class SpeechCall(Call, kw_only=True):
    """Words that are to be spoken. A stream is of OpenAI's events, or `bare`: of the file's bytes."""

    request: SpeechRequest
    bare: bool = False

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
        self.buffered = self.stream and not ability.stream
        out = {"model": upstream_model, "input": request.input, "voice": voice, "response_format": self.form}
        if request.instructions:
            out["instructions"] = request.instructions
        if self.stream and not self.buffered:
            out["stream_format"] = "sse"
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
        pieces = [body[at : at + _PIECE] for at in range(0, len(body), _PIECE)]
        if self.bare:
            return pieces
        return [*map(_delta, pieces), _done(counts)]

    def meter(self, dialect: str, request_id: str = "", wall_us: int = 0) -> "SpeechMeter":  # noqa: ARG002 - sound names neither
        """See `Call.meter`."""
        return SpeechMeter(self, dialect)


class SpeechMeter(StreamMeter):
    """Reads OpenAI's events of speech, and sends on events or bare sound."""

    __slots__ = ("_call",)

    def __init__(self, call: SpeechCall, dialect: str) -> None:
        super().__init__(include_usage=call.include_usage, dialect=dialect, model=call.model)
        self._call = call

    def feed(self, block: bytes) -> bytes:
        """See `StreamMeter.feed`."""
        return self._slow(block)

    def tail(self, counts: Counts | None) -> bytes:
        """See `StreamMeter.tail`; sound just ends."""
        return b"" if self._call.bare else _done(counts)

    def broken(self, code: str, message: str) -> bytes:
        """See `StreamMeter.broken`; sound is cut, which its framing tells."""
        return b"" if self._call.bare else fault.event(code, message)

    def _event(self, data: bytes) -> bytes:
        try:
            told = _TOLD.decode(data)
            sound = base64.b64decode(told.audio, validate=True)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            told, sound = _Told(""), b""
        if told.type == "speech.audio.done":
            self.done, self.counts = True, Counts(items=self._call.items)
            return b""
        call = self._call
        opens = self.pieces or sound.startswith(_OPENINGS.get(call.form, (b"",)))
        if told.type != "speech.audio.delta" or not sound or not opens:
            self.failed = f"the engine sent something that is no event with {call.form}"
            return b""
        self.pieces += 1
        self.items = min(call.items, max(self.items, call.items if told.characters is None else told.characters))
        return sound if call.bare else _delta(sound)


def parse(body: bytes, content_type: bytes) -> Call:  # noqa: ARG001 - the signature is the endpoint's
    """The body of a speech request. Raises Invalid."""
    request = read(_DECODER, body, SpeechRequest.__struct_fields__)
    size_of(request.input)
    kind, events = TYPES[request.response_format or "mp3"], request.stream_format == "sse"
    return SpeechCall(
        model=request.model,
        task="speak",
        endpoint="audio.speech",
        stream=request.stream_format is not None,
        include_usage=events,
        items=len(request.input),
        output_max=0,
        answer_type=kind,
        stream_type=b"" if events else kind,
        bare=request.stream_format == "audio",
        request=request,
    )


def _delta(sound: bytes) -> bytes:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(sound).decode()})


def _done(counts: Counts | None) -> bytes:
    """The end. What is spoken is metered in characters, so that its tokens, which the API asks for, are none."""
    usage: dict[str, object] = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    if counts is not None and counts.bill is not None:
        usage["headrace"] = {**counts.bill, "characters": counts.items}
    return _event({"type": "speech.audio.done", "usage": usage})


def _event(value: dict[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
