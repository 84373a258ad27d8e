"""Golden questions of speech: a known recording must be heard right, a text must give sound like speech.

Called by `golden`. The built-in recording is espeak-ng's voice, made by `bench/golden_clip.py`.
"""

import array
import base64
import io
import json
import math
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from headrace.errors import Permanent
from headrace.specs.catalog import Golden, ModelSpec

CLIP: Final = Path(__file__).with_name("golden_clip.opus")
_SECONDS_A_CHARACTER: Final = (0.025, 0.25)  # of speech at its normal pace; measured: 0.06
_LOUDNESS_MIN: Final = 0.01  # root mean square, of 1
_QUOTE_CHARS: Final = 200

Post = Callable[[str, dict[str, Any]], bytes]


def check(model: ModelSpec, golden: Golden, name: str, post: Post) -> None:
    """Ask through `post` (path and body to the answer's bytes). Raises Permanent when the answer is wrong."""
    (_hears if model.task == "transcribe" else _speaks)(model, golden, name, post)


def _hears(model: ModelSpec, golden: Golden, name: str, post: Post) -> None:
    """`prompt` is the path of a recording, or else what the built-in one says; `expect` must be heard in it."""
    file = Path(golden.prompt) if golden.prompt.startswith("/") else CLIP
    try:
        data = base64.b64encode(file.read_bytes()).decode()
    except OSError as error:
        raise Permanent(f"{model.key}: the golden recording {file} cannot be read: {error.strerror}") from None
    heard = json.loads(post("/v1/audio/transcriptions", {"model": name, "file": data, "temperature": 0}))["text"]
    if golden.expect.casefold() not in heard.casefold():
        raise Permanent(
            f"{model.key} failed its golden question: it heard {heard[:_QUOTE_CHARS]!r}, without {golden.expect!r}; "
            "use another `quantise` or other weights"
        )


def _speaks(model: ModelSpec, golden: Golden, name: str, post: Post) -> None:
    """`prompt` is spoken by the voice `expect`; what comes must last as long and be as loud as speech."""
    body = {"model": name, "input": golden.prompt, "voice": golden.expect, "response_format": "wav", "speed": 1.0}
    seconds, loudness = _measured(post("/v1/audio/speech", body))
    least, most = (len(golden.prompt) * each for each in _SECONDS_A_CHARACTER)
    if not least <= seconds <= most or loudness < _LOUDNESS_MIN:
        raise Permanent(
            f"{model.key} failed its golden question: {golden.prompt[:_QUOTE_CHARS]!r} took {seconds:.2f} s at a "
            f"loudness of {loudness:.3f}; speech takes {least:.2f} to {most:.2f} s and is louder than {_LOUDNESS_MIN}"
        )


def _measured(data: bytes) -> tuple[float, float]:
    """Seconds of a WAV file and the root mean square of its samples, of 1; zeros when it is none."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            rate, width = file.getframerate(), file.getsampwidth()
            samples = array.array("h", file.readframes(file.getnframes()) if width == 2 else b"")
    except (wave.Error, EOFError):
        return 0.0, 0.0
    if sys.byteorder == "big":
        samples.byteswap()
    if not samples:
        return 0.0, 0.0
    return len(samples) / rate, math.sqrt(sum(each * each for each in samples) / len(samples)) / 32_768
