"""`POST /v1/videos/generations`: words in, a film out, in one answer. OpenAI's `/v1/videos` is a job that asks here."""

import base64
import binascii
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from headrace import errors
from headrace.state.table import Ability, Media
from headrace.wire import answer, sampling
from headrace.wire.call import Call, estimate
from headrace.wire.images import PROMPT_MAX, Size
from headrace.wire.reading import read, size_of
from headrace.wire.usage import Counts

PATH: Final = "/v1/videos/generations"
JOBS: Final = "/v1/videos"  # of a foreign server, which makes films as OpenAI does
OVER: Final = frozenset({"completed", "failed"})
FAILED: Final = b'{"error":{"message":"the video failed","code":"video_failed"}}'  # of a job there
SECONDS_MAX: Final = 60
SECONDS_DEFAULT: Final = 4


class FilmRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything a client may send. `seconds` may be a text, as OpenAI has it."""

    model: sampling.Model
    prompt: Annotated[str, Meta(min_length=1, max_length=PROMPT_MAX)]
    seconds: Annotated[int, Meta(ge=1, le=SECONDS_MAX)] | Annotated[str, Meta(pattern="^[1-9][0-9]?$")] | None = None
    size: Size | None = None
    seed: sampling.Seed | None = None
    fps: Annotated[int, Meta(ge=1, le=60)] | None = None


class Job(msgspec.Struct):
    """OpenAI's video object, as far as it is of interest. Its id is part of paths."""

    id: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,128}$")]
    status: Literal["queued", "in_progress", "completed", "failed"]


class _Item(msgspec.Struct):
    b64_json: str


class _Made(msgspec.Struct, kw_only=True):
    data: list[_Item]
    created: int = 0


_DECODER: Final = msgspec.json.Decoder(FilmRequest)
_JOB: Final = msgspec.json.Decoder(Job)
_MADE: Final = msgspec.json.Decoder(_Made)


class FilmCall(Call, kw_only=True):
    """A film that is to be made."""

    request: FilmRequest
    seconds: int

    def render(
        self,
        ability: Ability,
        upstream_model: str,
        output_default: int,  # noqa: ARG002 - no tokens are generated
        context_tokens: int,  # noqa: ARG002 - there is no context
    ) -> tuple[str, bytes]:
        """See `Call.render`."""
        request, takes = self.request, ability.media or Media()
        if takes.video_s_max and self.seconds > takes.video_s_max:
            raise errors.Invalid(
                f"Invalid value for 'seconds': {self.seconds}; this model makes at most {takes.video_s_max}.",
                param="seconds",
                code="unsupported_value",
            )
        size = None if request.size == "auto" else request.size
        if size is not None and takes.sizes and size not in takes.sizes:
            raise errors.Invalid(
                f"Invalid value for 'size': {size}; this model makes {', '.join(takes.sizes)}.",
                param="size",
                code="unsupported_value",
            )
        out: dict[str, Any] = {"model": upstream_model, "prompt": request.prompt, "seconds": self.seconds}
        foreign = ability.dialect != "headrace"
        if foreign:
            out["seconds"] = str(self.seconds)
        given = {"size": size or (takes.sizes[0] if takes.sizes else None), "seed": request.seed, "fps": request.fps}
        out |= {name: value for name, value in given.items() if value is not None}
        return JOBS if foreign else PATH, msgspec.json.encode(out)

    def counts(self, body: bytes, dialect: str) -> Counts | None:  # noqa: ARG002 - as long as was asked for
        """See `Call.counts`: milliseconds."""
        return Counts(items=self.items)

    def guess(self, *, output_bytes: int = 0, pieces: int = 0) -> Counts:  # noqa: ARG002 - as above
        """See `Call.guess`."""
        return Counts(items=self.items)

    def finish(self, body: bytes, request_id: str, counts: Counts | None = None) -> bytes:  # noqa: ARG002 - no id
        """See `Call.finish`."""
        made = answer.decode(_MADE, body)
        try:
            opening = base64.b64decode(made.data[0].b64_json[:16], validate=True) if len(made.data) == 1 else b""
        except (binascii.Error, ValueError):
            opening = b""
        if opening[4:8] != b"ftyp":
            raise errors.Transient("the engine gave something that is no film")
        usage: dict[str, Any] = {"type": "duration", "seconds": self.seconds}
        if counts is not None and counts.bill is not None:
            usage["headrace"] = counts.bill
        film = {"b64_json": made.data[0].b64_json}
        return msgspec.json.encode({"created": made.created, "data": [film], "output_format": "mp4", "usage": usage})


def job(body: bytes) -> Job:
    """A foreign server's word of its job. Raises ValueError when it is none."""
    try:
        return _JOB.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("what it says of its job is none") from None


def whole(film: bytes) -> bytes:
    """A film that was fetched, as our own engines answer."""
    return msgspec.json.encode({"data": [{"b64_json": base64.b64encode(film).decode()}]})


def parse(body: bytes, content_type: bytes) -> Call:  # noqa: ARG001 - the signature is the endpoint's
    """The body of a request for a film. Raises Invalid."""
    request = read(_DECODER, body, FilmRequest.__struct_fields__)
    seconds = int(request.seconds or SECONDS_DEFAULT)
    if seconds > SECONDS_MAX:
        raise errors.Invalid(f"Invalid value for 'seconds': {seconds}; the limit is {SECONDS_MAX}.", param="seconds")
    return FilmCall(
        model=request.model,
        task="video",
        endpoint="videos.generations",
        items=1_000 * seconds,
        input_tokens=estimate(size_of(request.prompt), 0),
        output_max=0,
        request=request,
        seconds=seconds,
    )
