"""The work model: how much time of a replica a token takes by itself, beside the fixed part of each engine step.

Where an engine tells the time it spent on a request's prompt and answer, the model is fitted to it as requests end. The
time of one output token is F + n (v + k x), with n the requests that write meanwhile, F the fixed part of a step, v the
own work of a token and k what it takes to look at each token of a context of x. A prompt of t tokens behind c cached
ones that is alone takes p + w t + a t (c + t / 2), the last part being what its tokens look at; one that is read while
others write holds them up. Until there are enough of them a default says that FIXED_PPM of a lone request's step is
fixed part. The residual, of requests that were foretold before they were learned from, is published with it.

Measured for llama.cpp on two CPU threads, 135M parameters: 16.7, 40.8 and 113 ms a step at 1, 4 and 16 streams, so
F = 10.2 ms and v = 6.4 ms: 0.61 of a lone request's step is fixed. Of lone requests of 20 to 750 tokens, in CPU time,
p + w t is 7 % off, with a and k 5 %, when the same request again is 7 % off itself (docs/benchmarks.md).
"""

from typing import Final

import msgspec

from headrace.economics import least_squares
from headrace.economics.least_squares import MEMORY, Sums, Three

FIXED_PPM: Final = 610_000
SAMPLES_MIN: Final = 30
LONE_MIN: Final = 8  # prompts seen while nobody else was there
LONE_PRESENCE: Final = 1.25
SPREAD_MIN: Final = 0.05  # of who writes together, below which a fixed part cannot be told apart
_MILLION: Final = 1_000_000
_NOBODY: Final[Three] = (0.0, 0.0, 0.0)


class WorkModel(msgspec.Struct, frozen=True, kw_only=True):
    """Own work in nanoseconds of the replica's time: of a prompt token, an output token, an item. `fixed_ns` a step.

    `prompt_ns` is a prompt's fixed part, `look_ps` and `context_ps` are picoseconds of each token that one token of a
    prompt and one of an answer looks at. `first_ns` is what passes besides until its first token is seen: the way
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
    look_ps: int = 0
    context_ps: int = 0

    def reads_ns(self, tokens: float, cached: float = 0) -> float:
        """A prompt's time, alone.

        >>> WorkModel(prompt_ns=1_000_000, prefill_ns=2_000, look_ps=10_000).reads_ns(100, 50)
        1300000.0
        """
        return self.prompt_ns + tokens * (self.prefill_ns + (cached + tokens / 2) * self.look_ps / 1000)

    def step_ns(self, together: float, context: float) -> float:
        """A step in which so many write, of such contexts in the mean."""
        return self.fixed_ns + together * (self.decode_ns + context * self.context_ps / 1000)


class Company(msgspec.Struct, frozen=True):
    """What a request shared its steps with: `writing` and `context`, those who wrote and the tokens that all of them
    looked at, itself included, in its mean step; `held_up_us`, for how long others' prompts kept it from writing.
    """

    writing: float
    context: float
    held_up_us: int


class Prompt(msgspec.Struct, frozen=True):
    """What an engine told of a prompt: how long it read, how many tokens of it, how many it had in its cache.

    `first_us` is from its sending to its first token, of a stream.
    """

    us: int = 0
    tokens: int = 0
    cached: int = 0
    first_us: int = 0


NOT_TOLD: Final = Prompt()


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """All that a fit needs, of fixed size: sums of steps and of lone prompts, means where no fit is to be had."""

    step: Sums = Sums()
    prompt: Sums = Sums()
    error: float = 0.0  # running mean of the relative errors of steps that were foretold
    prefill_ns: float = 0.0
    prefill_tokens: int = 0
    first_ns: float = 0.0
    first_count: int = 0
    item_ns: float = 0.0
    items: int = 0

    @property
    def count(self) -> int:
        """Requests whose steps were seen."""
        return self.step.count


def learn(
    samples: Samples,
    *,
    present: float,
    decode_us: int,
    decode_tokens: int,
    prompt: Prompt = NOT_TOLD,
    company: Company | None = None,
) -> Samples:
    """One more request whose engine told its times; what it did not tell is 0.

    `present` were there in the mean while it was, itself included, and wrote where no `company` is told.
    """
    model = fitted(samples)
    changed = samples
    if prompt.us and prompt.tokens:
        changed = _read(samples, model, prompt, lone=present < LONE_PRESENCE)
    alike = Company(present, present * (prompt.cached + prompt.tokens + decode_tokens / 2), 0)
    shared = company or alike
    each_ns = (decode_us - shared.held_up_us) * 1000 / max(1, decode_tokens)
    if decode_tokens < 2 or each_ns <= 0 or 2 * shared.held_up_us > decode_us:  # it hardly wrote by itself
        return changed
    foretold = model.step_ns(shared.writing, shared.context / shared.writing) if model.samples >= SAMPLES_MIN else 0.0
    error = samples.error
    if foretold:
        error += (abs(foretold - each_ns) / each_ns - error) / min(samples.count - SAMPLES_MIN + 1, MEMORY)
    step = least_squares.added(samples.step, (1.0, shared.writing, shared.context), each_ns, foretold)
    return msgspec.structs.replace(changed, step=step, error=error)


def _read(samples: Samples, model: WorkModel, prompt: Prompt, *, lone: bool) -> Samples:
    """A prompt. In company it tells little: others' steps lie between its first batch and its last."""
    took_ns, tokens, first_ns = prompt.us * 1000, prompt.tokens, prompt.first_us * 1000
    seen = lone and first_ns > took_ns
    sums = samples.prompt
    if lone:
        foretold = model.reads_ns(tokens, prompt.cached) if sums.count >= LONE_MIN else 0.0
        features = (1.0, float(tokens), tokens * (prompt.cached + tokens / 2))
        sums = least_squares.added(sums, features, took_ns, foretold)
    return msgspec.structs.replace(
        samples,
        prompt=sums,
        prefill_ns=samples.prefill_ns + took_ns,
        prefill_tokens=samples.prefill_tokens + tokens,
        first_ns=samples.first_ns + (first_ns - took_ns if seen else 0),
        first_count=samples.first_count + seen,
    )


def learn_items(samples: Samples, *, busy_us: int, items: int) -> Samples:
    """One more request without tokens, such as embeddings: its time and its items."""
    return msgspec.structs.replace(samples, item_ns=samples.item_ns + busy_us * 1000, items=samples.items + items)


def fitted(samples: Samples) -> WorkModel:
    """The model these samples give. Own work is never negative and never more than a lone request's step.

    >>> s = Samples()
    >>> for n in (1, 4, 16) * 20:
    ...     s = learn(s, present=n, decode_us=10_000 + 6_000 * n, decode_tokens=1 + 1)
    >>> fitted(s).decode_ns, fitted(s).fixed_ns
    (3000000, 5000000)
    """
    first = int(samples.first_ns / samples.first_count) if samples.first_count >= LONE_MIN else 0
    item = int(samples.item_ns / samples.items * (_MILLION - FIXED_PPM) / _MILLION) if samples.items else 0
    prompt, prefill, look = _prompt(samples)
    step = _step(samples.step)
    told = step is not None and samples.count >= SAMPLES_MIN
    fixed, decode, context = step or _guess(samples.step)
    return WorkModel(
        prefill_ns=round(prefill),
        decode_ns=round(decode),
        item_ns=item,
        fixed_ns=round(fixed),
        residual_ppm=int(samples.error * _MILLION) if told else -1,
        samples=samples.count,
        prompt_ns=round(prompt),
        first_ns=first,
        look_ps=round(look * 1000),
        context_ps=round(context * 1000),
    )


def _prompt(samples: Samples) -> Three:
    """A prompt's fixed part, own work of a token, and of each token it looks at: of lone ones, if enough were seen."""
    sums = samples.prompt
    if sums.count >= LONE_MIN:
        for features in ((0, 1, 2), (0, 1), (1,)):
            found = least_squares.solved(sums, features)
            if found is not None and found[1] > 0:  # what a token takes is never looks alone
                return found
    return 0.0, (samples.prefill_ns / samples.prefill_tokens if samples.prefill_tokens else 0.0), 0.0


def _step(sums: Sums) -> Three | None:
    """A step's fixed part, own work of an output token, and of each token it looks at; None while it cannot be told."""
    weight, together, _, squares, _, _ = sums.xx
    if sums.count < SAMPLES_MIN or squares / weight - (together / weight) ** 2 < SPREAD_MIN:
        return None
    return least_squares.solved(sums) or least_squares.solved(sums, (0, 1))


def _guess(sums: Sums) -> Three:
    """Everybody was as much alone as everybody else: the default's split of the mean step."""
    if not sums.count:
        return _NOBODY
    mean, _, context = least_squares.solved(sums, (0, 2)) or least_squares.solved(sums, (0,)) or _NOBODY
    together, share = sums.xx[1] / sums.xx[0], FIXED_PPM / _MILLION
    own = mean * (1 - share) / (share + (1 - share) * together)
    return mean - own * together, own, context
