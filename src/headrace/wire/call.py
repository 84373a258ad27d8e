"""A request that has been read: sizes for the brain, and the body to send to whichever engine is chosen.

One subclass per endpoint. The gateway reads the fields, calls `render` for each attempt, and `finish` on a whole
answer. Immutable in effect: rendering twice, for two engines, is fine.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Self

import msgspec

from headrace import errors
from headrace.state.table import Ability
from headrace.wire.sse import StreamMeter
from headrace.wire.usage import Counts, counts_of

PREFIX_MAX_BYTES: Final = 1024
_BYTES_PER_TOKEN_MAX: Final = 32  # no text of real words has longer tokens on average


class Asking(NamedTuple):
    """How engines are asked for one answer: so many calls `side` by side, each one up to `tries` times.

    `more_bytes` of instructions stand in the prompt of each.
    """

    side: int = 1
    tries: int = 1
    more_bytes: int = 0


ONCE: Final = Asking()  # one call of an engine, which does all by itself


class Call(msgspec.Struct, kw_only=True):
    """What the gateway needs to know.

    `input_tokens` is an estimate on the high side, from bytes. `output_max` is per choice as asked, None when not.
    `prefix` is the beginning of the prompt, at most 1 KiB, for affinity. `items` counts what is embedded, ranked or
    drawn, or the most there can be of what is heard or spoken (`specs.priced.ITEMS`).
    `priority` is a place in `state.request.CLASSES`; `patience_us`, when not 0, is how long its client
    waits for a beginning.
    `buffered` (valid after `render`): the stream asked for is made by `finish_stream` from a whole answer.
    `kept`: the runner keeps the answer, or what it goes on from, and asks again without that.
    `salt` keeps the prefix cache of an engine that takes one apart by tenant.
    `also` are tasks beside `task` whose models can answer it. `content_type` (valid after `render`) is the body's,
    empty for JSON; `answer_type` that of the answer, `stream_type` that of a stream that is not of events.
    `place` is set in a part of a larger call: which of its choices.
    """

    model: str
    task: str
    endpoint: str
    stream: bool = False
    include_usage: bool = False
    n: int = 1
    items: int = 0
    input_bytes: int = 0
    input_tokens: int = 0
    output_max: int | None = None
    prefix: bytes = b""
    priority: int = 0
    patience_us: int = 0
    agent_steps: int = 0
    buffered: bool = False
    kept: bool = False
    salt: str = ""
    also: tuple[str, ...] = ()
    content_type: bytes = b""
    answer_type: bytes = b"application/json"
    stream_type: bytes = b""
    place: int | None = None

    def output_bound(self, output_default: int, context_tokens: int) -> int:
        """Most tokens that may come out, over all choices; 0 where none are generated."""
        asked = output_default if self.output_max is None else self.output_max
        return self.n * min(asked, context_tokens)

    def render(
        self, ability: Ability, upstream_model: str, output_default: int, context_tokens: int
    ) -> tuple[str, bytes]:
        """Upstream path and body, of declared fields only. Raises Invalid for what this engine cannot do."""
        raise NotImplementedError

    def finish(self, body: bytes, request_id: str, counts: Counts | None = None) -> bytes:
        """The whole answer as the client shall see it, with `counts` as its usage where given.

        Raises Transient when the engine's body is not an answer.
        """
        raise NotImplementedError

    def asking(self, ability: Ability) -> Asking:  # noqa: ARG002 - for the calls that an engine may not do by itself
        """How an engine of that ability is asked."""
        return ONCE

    def parts(self, ability: Ability) -> Sequence["Call"]:
        """The calls that are made side by side, for engines of that ability; `finish` of a part is the engine's body.

        Raises Invalid for what no number of calls can do.
        """
        raise NotImplementedError

    def again(self, body: bytes) -> "Call | None":  # noqa: ARG002 - as above
        """The part to ask for instead, since this answer to it does not hold; None when it does.

        Raises Refused when it has been asked for often enough.
        """
        return None

    def join(self, answers: Sequence[tuple[Self, bytes]], request_id: str, created_s: int, counts: Counts) -> "Joined":
        """The answers to its parts, in order, as one. Raises Transient."""
        raise NotImplementedError

    def counts(self, body: bytes, dialect: str) -> Counts | None:
        """What a whole answer cost by the engine's account; None when that is not to be believed."""
        return counts_of(body, dialect)

    def guess(self, *, output_bytes: int = 0, pieces: int = 0) -> Counts:
        """The gateway's own count, where the engine's cannot be had: of what was asked and what was sent on."""
        output = max(pieces - 2 * self.n, 0) if pieces else output_bytes // 4
        if self.output_max is not None:
            output = min(output, self.n * self.output_max)
        return Counts(input_tokens=self.input_tokens, output_tokens=output, items=self.items)

    def meter(self, dialect: str, request_id: str = "", wall_us: int = 0) -> StreamMeter:  # noqa: ARG002 - for the APIs whose streams name them
        """What reads this call's stream; `wall_us` is when the request came."""
        return StreamMeter(
            include_usage=self.include_usage,
            dialect=dialect,
            model=self.model,
            choices=self.n,
            prompts=self.items or 1,
        )

    def finish_stream(self, body: bytes, request_id: str, created_s: int, counts: Counts | None = None) -> list[bytes]:
        """A whole answer as the stream that was asked for; the last item is sent once the usage is durable."""
        raise NotImplementedError

    def quoted(self, quote: dict[str, object]) -> bytes:
        """A quote of this call, as its client shall see it."""
        return msgspec.json.encode(quote)

    def check_context(self, context_tokens: int) -> None:
        """Refuse what cannot possibly fit, before an engine sees it."""
        if self.input_bytes > context_tokens * _BYTES_PER_TOKEN_MAX:
            raise errors.Invalid(
                f"This model's context is {context_tokens} tokens, and the prompt has {self.input_bytes} bytes, which "
                "cannot fit. Shorten the prompt.",
                code="context_length_exceeded",
            )


class Joined(NamedTuple):
    """One answer to a call that was made in parts: whole, and as the events of a stream, of which the last one waits
    until the usage is durable. Only the one that was asked for is made.
    """

    body: bytes = b""
    events: Sequence[bytes] = ()


def estimate(input_bytes: int, turns: int = 1) -> int:
    """Tokens in so many bytes of text, on the high side for words and code, with a template's overhead per turn.

    >>> estimate(300)
    108
    """
    return input_bytes // 3 + 8 * turns
