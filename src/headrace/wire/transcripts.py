"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`: a recording in, what was said out.

Engines are always asked for segments with their times; text, subtitles (srt, vtt) and the events of a stream are made
of those here. Metered by the length of the recording, which the engine tells and the gateway bounds.
"""

import base64
from typing import Any, Final

import msgspec

from headrace import errors
from headrace.state.table import Ability, Media
from headrace.wire import answer, fault, media, multipart
from headrace.wire.call import Call
from headrace.wire.pictures import formed
from headrace.wire.reading import unsupported
from headrace.wire.sse import StreamMeter
from headrace.wire.usage import Counts

TRANSCRIPTIONS: Final = "/v1/audio/transcriptions"
TRANSLATIONS: Final = "/v1/audio/translations"
FORMATS: Final = ("json", "text", "srt", "verbose_json", "vtt")
_TYPES: Final = {"text": b"text/plain; charset=utf-8", "srt": b"text/plain; charset=utf-8", "vtt": b"text/vtt"}
_PROMPT_MAX: Final = 4_096
_DURATION_S_MAX: Final = 86_400.0
_FIELDS: Final = (
    "file", "model", "language", "prompt", "response_format", "temperature", "timestamp_granularities",
    "timestamp_granularities[]", "stream", "include", "include[]", "chunking_strategy", "user",
)  # fmt: skip


class Segment(msgspec.Struct, kw_only=True):
    """A piece of what was said; seconds."""

    start: float
    end: float
    text: str
    id: int = 0
    seek: int = 0
    tokens: list[int] = []
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0


class Word(msgspec.Struct):
    """A word and when it was said; seconds."""

    word: str
    start: float
    end: float


class _Heard(msgspec.Struct, kw_only=True):
    text: str
    duration: float | str
    language: str = ""
    segments: list[Segment] = []
    words: list[Word] | None = None


class _Told(msgspec.Struct, kw_only=True):
    """An event of an engine. `milliseconds` of the recording have been heard with it, where it says so."""

    type: str
    delta: str = ""
    text: str = ""
    milliseconds: int = 0
    duration: float = 0.0


_TOLD: Final = msgspec.json.Decoder(_Told)
_HEARD: Final = msgspec.json.Decoder(_Heard)


class TranscriptCall(Call, kw_only=True):
    """A recording that is to be written down. `kind` is its container."""

    data: bytes
    filename: str
    kind: str
    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    words: bool = False
    segments: bool = True
    translate: bool = False
    response_format: str = "json"

    def render(
        self,
        ability: Ability,
        upstream_model: str,
        output_default: int,  # noqa: ARG002 - an answer is as long as what was said
        context_tokens: int,  # noqa: ARG002 - there is no context
    ) -> tuple[str, bytes]:
        """See `Call.render`."""
        takes = ability.media or Media()
        media.recording(self.data, self.filename, takes, "file")
        self._understood(takes)
        self.items = media.longest_ms(self.kind, len(self.data), takes.audio_s_max)
        self.buffered = self.stream and not (ability.stream and ability.dialect == "headrace")
        if ability.dialect != "headrace":
            return self._foreign(upstream_model)
        self.content_type = b""
        out: dict[str, Any] = {
            "model": upstream_model,
            "file": base64.b64encode(self.data).decode(),
            "filename": self.filename,
            "words": self.words,
            "translate": self.translate,
            "seconds_max": -(-self.items // 1_000),
        }
        given = {"language": self.language, "prompt": self.prompt, "temperature": self.temperature}
        out |= {name: value for name, value in given.items() if value is not None}
        if self.stream and not self.buffered:
            out["stream"] = True
        return TRANSCRIPTIONS, msgspec.json.encode(out)

    def counts(self, body: bytes, dialect: str) -> Counts | None:  # noqa: ARG002 - all tell the duration
        """See `Call.counts`: milliseconds of the recording."""
        try:
            return Counts(items=_milliseconds(_HEARD.decode(body)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            return None

    def guess(self, *, output_bytes: int = 0, pieces: int = 0) -> Counts:  # noqa: ARG002 - a recording has no tokens
        """See `Call.guess`."""
        return Counts(items=self.items)

    def finish(self, body: bytes, request_id: str, counts: Counts | None = None) -> bytes:  # noqa: ARG002 - no id
        """See `Call.finish`, in the format that was asked for."""
        heard = self._heard(body)
        match self.response_format:
            case "text":
                return heard.text.encode() + b"\n"
            case "srt":
                return subtitles(heard.segments).encode()
            case "vtt":
                return web_subtitles(heard.segments).encode()
        seconds = -(-_milliseconds(heard) // 1_000)
        shown: dict[str, Any] = {"text": heard.text, "usage": {"type": "duration", "seconds": seconds}}
        if self.response_format == "verbose_json":
            duration_s = _milliseconds(heard) / 1_000
            shown |= {"task": "translate" if self.translate else "transcribe", "duration": duration_s}
            shown["language"] = heard.language or self.language or "unknown"
            if self.segments:
                shown["segments"] = heard.segments
            if self.words:
                shown["words"] = heard.words or []
        return msgspec.json.encode(shown)

    def finish_stream(self, body: bytes, request_id: str, created_s: int, counts: Counts | None = None) -> list[bytes]:  # noqa: ARG002 - no id, no moment
        """See `Call.finish_stream`: an event for each segment, and the whole."""
        heard = self._heard(body)
        pieces = [segment.text for segment in heard.segments] or [heard.text]
        events = [_delta(piece) for piece in pieces if piece]
        return [*events, _done(heard.text, _milliseconds(heard), counts)]

    def meter(self, dialect: str, request_id: str = "", wall_us: int = 0) -> "TranscriptMeter":  # noqa: ARG002 - no id, no moment
        """See `Call.meter`."""
        return TranscriptMeter(self, dialect)

    def _heard(self, body: bytes) -> _Heard:
        heard = answer.decode(_HEARD, body)
        try:
            length_ms = _milliseconds(heard)
        except ValueError:
            raise errors.Transient("the engine told a length that cannot be") from None
        if any(not 0 <= segment.start <= segment.end <= length_ms / 1_000 + 60 for segment in heard.segments):
            raise errors.Transient("the engine told moments that are not in the recording")
        return heard

    def _understood(self, takes: Media) -> None:
        if self.translate and not takes.translates:
            raise errors.Invalid(
                f"The model {self.model!r} writes down what is said and does not translate it.",
                param="model",
                code="unsupported_endpoint",
            )
        if self.language is not None and takes.languages and self.language not in takes.languages:
            raise errors.Invalid(
                f"Invalid value for 'language': {self.language!r}; this model understands "
                f"{', '.join(takes.languages)}.",
                param="language",
                code="unsupported_value",
            )
        if self.words and not takes.words:
            raise unsupported("timestamp_granularities", "with 'word' is not supported by this model")

    def _foreign(self, upstream_model: str) -> tuple[str, bytes]:
        parts = [multipart.Part("model", upstream_model.encode()), multipart.Part("response_format", b"verbose_json")]
        given = {"language": self.language, "prompt": self.prompt, "temperature": self.temperature}
        parts += [multipart.Part(name, str(value).encode()) for name, value in given.items() if value is not None]
        if self.words:
            parts += [multipart.Part("timestamp_granularities[]", kind) for kind in (b"word", b"segment")]
        parts.append(multipart.Part("file", self.data, f"recording.{self.kind}"))
        self.content_type, body = formed(parts)
        return TRANSLATIONS if self.translate else TRANSCRIPTIONS, body


class TranscriptMeter(StreamMeter):
    """Reads our engine's events of a recording that is being heard. What was heard is believed up to its bound."""

    __slots__ = ("_call", "_text")

    def __init__(self, call: TranscriptCall, dialect: str) -> None:
        super().__init__(include_usage=True, dialect=dialect, model=call.model)
        self._call, self._text = call, ""

    def feed(self, block: bytes) -> bytes:
        """See `StreamMeter.feed`."""
        return self._slow(block)

    def tail(self, counts: Counts | None) -> bytes:
        """See `StreamMeter.tail`."""
        return _done(self._text, self.items, counts)

    def broken(self, code: str, message: str) -> bytes:
        """See `StreamMeter.broken`."""
        return fault.event(code, message)

    def _event(self, data: bytes) -> bytes:
        try:
            told = _TOLD.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            told = _Told(type="")
        match told.type:
            case "transcript.text.delta":
                self.pieces += 1
                self.items = min(self._call.items, max(self.items, told.milliseconds))
                return _delta(told.delta)
            case "transcript.text.done" if 0 <= told.duration <= _DURATION_S_MAX:
                self.done, self._text = True, told.text
                self.items = min(self._call.items, round(1_000 * told.duration))
                self.counts = Counts(items=self.items)
            case _:
                self.failed = "the engine sent something that is no event of a transcript"
        return b""


def subtitles(segments: list[Segment]) -> str:
    """SubRip: numbered, with commas.

    >>> print(subtitles([Segment(start=0, end=1.5, text=" Hello.")]), end="")
    1
    00:00:00,000 --> 00:00:01,500
    Hello.
    <BLANKLINE>
    """
    blocks = [
        f"{number}\n{_moment(segment.start, ',')} --> {_moment(segment.end, ',')}\n{segment.text.strip()}\n"
        for number, segment in enumerate(segments, 1)
    ]
    return "".join(block + "\n" for block in blocks)


def web_subtitles(segments: list[Segment]) -> str:
    """WebVTT: a head, and points."""
    blocks = [
        f"{_moment(segment.start, '.')} --> {_moment(segment.end, '.')}\n{segment.text.strip()}\n\n"
        for segment in segments
    ]
    return "WEBVTT\n\n" + "".join(blocks)


def parse(body: bytes, content_type: bytes) -> Call:
    """A recording to be written down as it is spoken. Raises Invalid."""
    form = multipart.read(body, content_type)
    form.known(*_FIELDS)
    kinds = form.texts("timestamp_granularities")
    if any(kind not in ("word", "segment") for kind in kinds):
        raise errors.Invalid("'timestamp_granularities' holds word, segment or both.", param="timestamp_granularities")
    if form.texts("include"):
        raise unsupported("include")
    if form.text("chunking_strategy") not in (None, "auto"):
        raise unsupported("chunking_strategy", "other than auto is not supported")
    language = form.text("language", 16)
    return _call(
        form,
        endpoint="audio.transcriptions",
        language=None if language is None else language.strip().lower(),
        words="word" in kinds,
        segments="segment" in kinds or not kinds,
        stream=form.text("stream") == "true",
    )


def parse_translation(body: bytes, content_type: bytes) -> Call:
    """A recording to be written down in English. Raises Invalid."""
    form = multipart.read(body, content_type)
    form.known("file", "model", "prompt", "response_format", "temperature", "user")
    return _call(form, endpoint="audio.translations", translate=True)


def _call(form: multipart.Form, *, endpoint: str, stream: bool = False, **more: Any) -> TranscriptCall:
    model = form.text("model", 256)
    if model is None:
        raise multipart.missing("model")
    wanted = form.text("response_format", 32) or "json"
    if wanted not in FORMATS:
        raise errors.Invalid(
            f"Invalid value for 'response_format': {wanted!r}; give {', '.join(FORMATS)}.", param="response_format"
        )
    if more.get("words") and wanted != "verbose_json":
        raise errors.Invalid(
            "'timestamp_granularities' needs response_format verbose_json.", param="timestamp_granularities"
        )
    if stream and wanted not in ("json", "text"):
        raise errors.Invalid("'stream' needs response_format json or text.", param="stream")
    file = form.file("file")
    return TranscriptCall(
        model=model,
        task="transcribe",
        endpoint=endpoint,
        stream=stream,
        include_usage=stream,
        output_max=0,
        answer_type=_TYPES.get(wanted, b"application/json"),
        data=file.data,
        filename=file.filename or "",
        kind=media.recording(file.data, file.filename or "", None, "file"),
        prompt=form.text("prompt", _PROMPT_MAX),
        temperature=form.number("temperature", 0, 1),
        response_format=wanted,
        **more,
    )


def _milliseconds(heard: _Heard) -> int:
    """The length of the recording. Raises ValueError for one that cannot be."""
    seconds = float(heard.duration)
    if not 0 <= seconds <= _DURATION_S_MAX:
        raise ValueError("a duration that cannot be")
    return round(1_000 * seconds)


def _moment(seconds: float, point: str) -> str:
    whole = round(1_000 * seconds)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1_000 % 60:02}{point}{whole % 1_000:03}"


def _delta(piece: str) -> bytes:
    return _event({"type": "transcript.text.delta", "delta": piece})


def _done(text: str, length_ms: int, counts: Counts | None) -> bytes:
    usage: dict[str, Any] = {"type": "duration", "seconds": -(-length_ms // 1_000)}
    if counts is not None and counts.bill is not None:
        usage["headrace"] = counts.bill
    return _event({"type": "transcript.text.done", "text": text, "usage": usage})


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
