"""What every text-to-speech runner takes, and refuses: OpenAI's request, checked. Pure."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from headrace.engines.runners.recording import Samples
from headrace.errors import Invalid

PATH: Final = "/v1/audio/speech"
INPUT_MAX_CHARS: Final = 4_096  # OpenAI's limit


class SpeechRequest(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/audio/speech."""

    input: str
    voice: str
    model: str = ""
    response_format: Literal["wav", "mp3", "opus", "flac", "aac", "pcm"] = "mp3"
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0


def read(body: bytes, voices: Sequence[str]) -> SpeechRequest:
    """The request, its voice one of `voices`. Raises Invalid that names the field."""
    try:
        request = msgspec.json.decode(body, type=SpeechRequest)
    except msgspec.MsgspecError as error:
        raise Invalid(str(error)) from error
    if not request.input.strip():
        raise Invalid("input is empty; give a text to speak", param="input")
    if len(request.input) > INPUT_MAX_CHARS:
        raise Invalid(
            f"input has {len(request.input)} characters; at most {INPUT_MAX_CHARS} are spoken at once. Split the text",
            param="input",
        )
    if request.voice not in voices:
        raise Invalid(f"voice {request.voice[:64]!r} is not known; give one of {', '.join(voices)}", param="voice")
    return request


def refuse_silence(samples: Samples) -> None:
    """Raise Invalid when a text gave no sound."""
    if not samples.any():
        raise Invalid("there is nothing in input that this voice can speak; write words", param="input")
