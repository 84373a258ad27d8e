"""What an answer cost, as its engine counted, and whether that can be believed.

Called by the stream meter and, for whole answers, by the gateway. Never guesses: a figure that is negative, not a
whole number, absurd or at odds with itself makes the whole count None, and the gateway falls back on its own.
"""

from typing import Final

import msgspec

_FIGURE_MAX: Final = 1_000_000_000  # tokens; nothing real comes near
_TIME_MAX_MS: Final = 86_400_000.0  # a day in one request is not a measurement
_TIME_MAX_US: Final = 86_400_000_000


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens in, of them found in the prefix cache, and out; items (embeddings, ranked documents); engine times.

    `bill` is what the client is shown of the charge, under `usage.headrace`.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    items: int = 0
    prefill_us: int = 0
    decode_us: int = 0
    bill: dict[str, str] | None = None

    def usage(self, *, generated: bool = True) -> dict[str, object]:
        """The `usage` object of OpenAI's API."""
        shown: dict[str, object] = {
            "prompt_tokens": self.input_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
        }
        if generated:
            shown["completion_tokens"] = self.output_tokens
            shown["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        if self.bill is not None:
            shown["headrace"] = self.bill
        return shown


class Details(msgspec.Struct):
    """`prompt_tokens_details`."""

    cached_tokens: int | None = None


class Figures(msgspec.Struct):
    """`usage` as engines send it; integers are strict."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    prefill_us: int | None = None
    decode_us: int | None = None


class Timings(msgspec.Struct):
    """llama.cpp's `timings`, milliseconds."""

    cache_n: int | None = None
    prompt_ms: float | None = None
    predicted_ms: float | None = None


class _Answer(msgspec.Struct):
    usage: Figures | None = None
    timings: Timings | None = None
    data: list[msgspec.Raw] | None = None
    results: list[msgspec.Raw] | None = None


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def counts_of(body: bytes, dialect: str) -> Counts | None:
    """The counts in a whole answer; None when there are none to be believed.

    `Call.counts` is what the gateway asks: a call knows when its engine's figures are of one choice of several.
    """
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if answer.usage is None:
        return None
    items = len(answer.data or answer.results or ())
    return counts_from(answer.usage, answer.timings, dialect, items)


def counts_from(usage: Figures, timings: Timings | None, dialect: str, items: int = 0) -> Counts | None:
    """Counts of figures already decoded. `timings` are read for llama_cpp, `prefill_us` and such for headrace."""
    total = usage.total_tokens
    prompt = usage.prompt_tokens
    output = usage.completion_tokens or 0
    if prompt is None:
        if total is None:
            return None
        prompt = total - output  # a reranker may give the total alone
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
    prefill_us, decode_us = 0, 0
    if dialect == "llama_cpp" and timings is not None:
        if cached is None:
            cached = timings.cache_n
        prefill_us, decode_us = _microseconds(timings.prompt_ms), _microseconds(timings.predicted_ms)
    elif dialect == "headrace":
        prefill_us, decode_us = usage.prefill_us or 0, usage.decode_us or 0
    cached = cached or 0
    if not (0 <= cached <= prompt <= _FIGURE_MAX and 0 <= output <= _FIGURE_MAX):
        return None
    if (prefill_us or decode_us) and not (0 <= prefill_us <= _TIME_MAX_US and 0 <= decode_us <= _TIME_MAX_US):
        return None
    if total is not None and total != prompt + output:
        return None
    return Counts(
        input_tokens=prompt,
        cached_tokens=cached,
        output_tokens=output,
        items=items,
        prefill_us=prefill_us,
        decode_us=decode_us,
    )


def plausible(counts: Counts, *, pieces: int, choices: int, input_bytes: int, output_max: int) -> bool:
    """Whether counts fit what the gateway saw: `pieces` sent (0 for a whole answer), bounds it set itself.

    `input_bytes` is the size of what was sent to the engine, which bounds the tokens of a byte-level vocabulary,
    templates included with room to spare; `output_max` is over all `choices`.

    >>> plausible(Counts(input_tokens=9, output_tokens=500), pieces=12, choices=1, input_bytes=400, output_max=16)
    False
    """
    if counts.output_tokens > output_max + choices or counts.input_tokens > 4 * input_bytes + 4096:
        return False
    return counts.output_tokens * 2 + 4 * choices >= pieces


def _microseconds(time_ms: float | None) -> int:
    if time_ms is None:
        return 0
    return int(time_ms * 1000) if 0 <= time_ms <= _TIME_MAX_MS else -1
