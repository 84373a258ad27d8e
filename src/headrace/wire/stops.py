"""Which of the stop texts ended an answer, as far as its engine says. Pure.

OpenAI's API has no word for it. vLLM and our own runners tell it as a choice's `stop_reason`, SGLang as `matched_stop`,
llama.cpp in what it adds when it is asked to be `verbose`.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from headrace.state.table import Ability

VERBOSE_BYTES_MAX: Final = 256 << 10  # llama.cpp then repeats the prompt, in an event that must stay within bounds
_HINTS: Final = (b'"stop_reason"', b'"matched_stop"', b'"__verbose"')


class _Choice(msgspec.Struct):
    stop_reason: str | int | None = None
    matched_stop: str | int | list[int] | None = None


class _Verbose(msgspec.Struct):
    stopping_word: str = ""


class _Said(msgspec.Struct):
    choices: list[_Choice] = []
    verbose: _Verbose | None = msgspec.field(default=None, name="__verbose")


_SAID: Final = msgspec.json.Decoder(_Said)


def asking(body: bytes, ability: Ability) -> bytes:
    """A request with stop texts, in JSON, so that its engine tells which one it met, where it must be asked to."""
    if ability.dialect != "llama_cpp" or len(body) > VERBOSE_BYTES_MAX:
        return body
    return body[:-1] + b',"verbose":true}'


def met(said: bytes, stops: Sequence[str]) -> str | None:
    """The stop text of `stops` that a whole answer or a chunk says it ended at; None when it does not."""
    if not stops or not any(hint in said for hint in _HINTS):
        return None
    try:
        found = _SAID.decode(said)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    words: list[object] = [found.verbose.stopping_word] if found.verbose is not None else []
    for choice in found.choices:
        words += [choice.stop_reason, choice.matched_stop]
    return next((word for word in words if isinstance(word, str) and word in stops), None)
