"""The work model: how much time of a replica a token takes by itself, beside the fixed part of each engine step.

Where an engine tells the time it spent on a request's prompt and answer, the model is fitted to it: over requests, the
time of one output token is F + v n, with n the mean number of requests present; F is the fixed part of a step and v the
own work of one token (ordinary least squares, Gauss 1809). A prompt of n tokens that is alone takes p + w n, likewise.
Until there are enough of them a default says that FIXED_PPM of a lone request's step is fixed part. The residual of the
fit is published with it.

Measured for llama.cpp on two CPU threads, 135M parameters: 16.7, 40.8 and 113 ms a step at 1, 4 and 16 streams, so
F = 10.2 ms and v = 6.4 ms: 0.61 of a lone request's step is fixed.
"""

from typing import Final

import msgspec

FIXED_PPM: Final = 610_000
SAMPLES_MIN: Final = 30
LONE_MIN: Final = 8  # prompts seen while nobody else was there
LONE_PRESENCE: Final = 1.25
_MILLION: Final = 1_000_000


class WorkModel(msgspec.Struct, frozen=True, kw_only=True):
    """Own work in nanoseconds of the replica's time: of a prompt token, an output token, an item. `fixed_ns` a step.

    `prompt_ns` is a prompt's fixed part, and `first_ns` what passes besides until its first token is seen: the way
    there and back, templates, tokenizers. `residual_ppm` is the mean relative error of the fit, -1 while the default
    stands; `samples` what it rests on.
    """

    prefill_ns: int = 0
    decode_ns: int = 0
    item_ns: int = 0
    fixed_ns: int = 0
    residual_ppm: int = -1
    samples: int = 0
    prompt_ns: int = 0
    first_ns: int = 0


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over requests: all that a fit needs, of fixed size. `x` is presence, `y` nanoseconds an output token."""

    count: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    error: float = 0.0
    prefill_ns: float = 0.0
    prefill_tokens: int = 0
    lone_ns: float = 0.0
    lone_tokens: int = 0
    lone_count: int = 0
    lone_tt: float = 0.0
    lone_tn: float = 0.0
    first_ns: float = 0.0
    first_count: int = 0
    item_ns: float = 0.0
    items: int = 0


def learn(
    samples: Samples,
    *,
    present: float,
    decode_us: int,
    decode_tokens: int,
    prefill_us: int,
    prefill_tokens: int,
    first_us: int = 0,
) -> Samples:
    """One more request whose engine told its times; what it did not tell is 0.

    `first_us` is from its sending to its first token, of a stream.
    """
    prefill = prefill_us * 1000 if prefill_us and prefill_tokens else 0
    lone = bool(prefill) and present < LONE_PRESENCE
    changed = msgspec.structs.replace(
        samples,
        prefill_ns=samples.prefill_ns + prefill,
        prefill_tokens=samples.prefill_tokens + (prefill_tokens if prefill else 0),
        lone_ns=samples.lone_ns + (prefill if lone else 0),
        lone_tokens=samples.lone_tokens + (prefill_tokens if lone else 0),
        lone_count=samples.lone_count + lone,
        lone_tt=samples.lone_tt + (prefill_tokens * prefill_tokens if lone else 0),
        lone_tn=samples.lone_tn + (prefill_tokens * prefill if lone else 0),
        first_ns=samples.first_ns + (first_us * 1000 - prefill if lone and first_us > prefill_us else 0),
        first_count=samples.first_count + (lone and first_us > prefill_us),
    )
    if decode_tokens < 2 or not decode_us:
        return changed
    each_ns = decode_us * 1000 / decode_tokens
    guess = fitted(samples)
    expected = guess.fixed_ns + guess.decode_ns * present
    error = abs(expected - each_ns) / each_ns if guess.samples >= SAMPLES_MIN else 0.0
    return msgspec.structs.replace(
        changed,
        count=samples.count + 1,
        x=samples.x + present,
        y=samples.y + each_ns,
        xx=samples.xx + present * present,
        xy=samples.xy + present * each_ns,
        error=samples.error + error,
    )


def _prefill(samples: Samples) -> tuple[int, int]:
    """Own work of a prompt token, and a prompt's fixed part: where nobody else is, once that was seen often enough.

    An engine tells the time from a prompt's first batch to its last, and others' steps lie between.
    """
    count = samples.lone_count
    if count < LONE_MIN:
        return (int(samples.prefill_ns / samples.prefill_tokens) if samples.prefill_tokens else 0), 0
    mean_tokens, mean_ns = samples.lone_tokens / count, samples.lone_ns / count
    spread = samples.lone_tt - count * mean_tokens * mean_tokens
    if spread > 0.01 * samples.lone_tt:
        slope = (samples.lone_tn - count * mean_tokens * mean_ns) / spread
        if 0 <= slope <= mean_ns / mean_tokens:
            return round(slope), round(mean_ns - slope * mean_tokens)
    return int(mean_ns / mean_tokens), 0


def learn_items(samples: Samples, *, busy_us: int, items: int) -> Samples:
    """One more request without tokens, such as embeddings: its time and its items."""
    return msgspec.structs.replace(samples, item_ns=samples.item_ns + busy_us * 1000, items=samples.items + items)


def fitted(samples: Samples) -> WorkModel:
    """The model these samples give. Own work is never negative and never more than a lone request's step.

    >>> s = Samples()
    >>> for n in (1, 4, 16) * 20:
    ...     s = learn(s, present=n, decode_us=10_000 + 6_000 * n, decode_tokens=1 + 1, prefill_us=0, prefill_tokens=0)
    >>> fitted(s).decode_ns, fitted(s).fixed_ns
    (3000000, 5000000)
    """
    prefill, prompt = _prefill(samples)
    first = int(samples.first_ns / samples.first_count) if samples.first_count >= LONE_MIN else 0
    item = int(samples.item_ns / samples.items * (_MILLION - FIXED_PPM) / _MILLION) if samples.items else 0
    if not samples.count:
        return WorkModel(prefill_ns=prefill, item_ns=item, prompt_ns=prompt, first_ns=first)
    mean_x, mean_y = samples.x / samples.count, samples.y / samples.count
    spread = samples.xx - samples.count * mean_x * mean_x
    if samples.count < SAMPLES_MIN or spread < 0.05 * samples.count:
        # Everybody was as much alone as everybody else: take the default's split of the mean step.
        fixed_share = FIXED_PPM / _MILLION
        own = mean_y * (1 - fixed_share) / (fixed_share + (1 - fixed_share) * mean_x)
        return WorkModel(
            prefill_ns=prefill,
            decode_ns=int(own),
            item_ns=item,
            fixed_ns=int(mean_y - own * mean_x),
            samples=samples.count,
            prompt_ns=prompt,
            first_ns=first,
        )
    slope = (samples.xy - samples.count * mean_x * mean_y) / spread
    own = min(max(0.0, slope), mean_y / max(1.0, mean_x))
    tested = max(1, samples.count - SAMPLES_MIN)
    return WorkModel(
        prefill_ns=prefill,
        decode_ns=round(own),
        item_ns=item,
        fixed_ns=round(mean_y - own * mean_x),
        residual_ppm=int(samples.error / tested * _MILLION),
        samples=samples.count,
        prompt_ns=prompt,
        first_ns=first,
    )
