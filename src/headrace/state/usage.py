"""The one durable record each request leaves, and the mark that it began.

Written by a gateway to its journal, moved by the bookkeeper into the store under the request's id as primary key, so
that a record read twice is one record. The books are built on it.
"""

from typing import Literal

import msgspec

from headrace.state.likeness import Likeness

Outcome = Literal["finished", "cancelled", "failed", "refused"]


class Begun(msgspec.Struct, frozen=True, kw_only=True, tag="begun", omit_defaults=True):
    """A request was admitted by this gateway process (`epoch`); its end is still owed."""

    request: str
    epoch: str
    tenant: str
    key: str
    model: str
    task: str
    arrived_us: int
    stream: bool = False
    team: str = ""
    label: str = ""


class Span(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An attempt that failed: where, and from when to when it held a slot; moments of the wall clock."""

    replica: str
    incarnation: str
    start_us: int
    end_us: int


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a request that took several calls of an engine: where it was, and from when to when.

    Moments of the wall clock, microseconds: it held a slot from `start_us`, and its answer began at `first_us`.
    `choice` is the place in the answer, `attempt` counts its calls from 1. Tokens as in `Usage`; `why` is the fast
    brain's reason.
    """

    choice: int
    attempt: int
    replica: str
    incarnation: str
    start_us: int
    first_us: int
    end_us: int
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    why: str = ""


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress", omit_defaults=True):
    """How far a stream has come: the mark it is settled at when its gateway dies."""

    request: str
    output_tokens: int
    at_us: int
    replica: str = ""
    version: str = ""
    incarnation: str = ""


class Usage(msgspec.Struct, frozen=True, kw_only=True, tag="usage", omit_defaults=True):
    """How a request ended. All moments and durations in microseconds; tokens as the engine counted them.

    `counted` says who counted: the engine, or the gateway where the engine was silent or not to be believed.
    `busy_us` is how long it held a slot; `engine_prefill_us` and `engine_decode_us` are the engine's own figures,
    0 when it gives none. `first_us` is arrival to first byte of the answer, 0 if none came. `events` is how many
    pieces the client was sent: k of «cancelled at k». `why` is the fast brain's reason, for `explain`.

    From `sent_us` to `left_us` (wall clock) it held a slot of `replica`; `failed` are attempts that came to nothing.
    `parts`, where there are any, are what it really held slots for; then `replica` is where the first one was, and
    `busy_us` the sum over all.
    `charge_nanousd` is what it is charged, by the price called `price`, pinned at admission; it counts against
    `budgets`, where `held_nanousd` had been held for it. `label` is what its client called the
    work: RUN/STEP of a pipeline; `agent_steps` is 1 for a turn of an agent.
    """

    request: str
    epoch: str
    tenant: str
    key: str
    model: str
    task: str
    outcome: Outcome
    status: int
    arrived_us: int
    ended_us: int
    version: str = ""
    replica: str = ""
    incarnation: str = ""
    stream: bool = False
    code: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    items: int = 0
    counted: Literal["engine", "gateway"] = "engine"
    queue_us: int = 0
    first_us: int = 0
    busy_us: int = 0
    engine_prefill_us: int = 0
    engine_decode_us: int = 0
    attempts: int = 0
    events: int = 0
    cold: bool = False
    why: str = ""
    error: str = ""
    team: str = ""
    sent_us: int = 0
    left_us: int = 0
    failed: tuple[Span, ...] = ()
    parts: tuple[Stay, ...] = ()
    charge_nanousd: int = 0
    price: str = ""
    held_nanousd: int = 0
    budgets: tuple[str, ...] = ()
    note: str = ""
    label: str = ""
    agent_steps: int = 0


Entry = Begun | Progress | Usage | Likeness
