"""A run of a pipeline as its journal tells it: events, and the state they fold to. Pure.

The journal is the truth: `fold` of the same events is the same state, so a runner that was killed at any event goes on
from there. Money is nano-dollars, moments are microseconds of the wall clock. At every event

    spent + lost + sum of held <= cap

where `held` is the worst case of each call at work and `lost` the worst case of calls whose charge was never learned.
"""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

RunPhase = Literal["running", "finished", "failed", "cancelled"]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """Something that happened to a run."""

    at_us: int


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """Asked for. `source` is the pipeline's text (or the place of a Python one), `version` the digest of it."""

    run: str
    tenant: str
    key: str
    pipeline: str
    version: str
    source: str
    inputs: dict[str, Any]
    cap_nanousd: int
    deadline_us: int
    width: int


class Called(Event, frozen=True, kw_only=True, tag="called"):
    """A call is about to be sent; `held_nanousd` is the most it may come to. `call` is STEP#KEY/NUMBER/ATTEMPT;
    `choice` says which of the step's alternatives it is, 0 the first.
    """

    call: str
    step: str
    model: str
    held_nanousd: int
    choice: int = 0


class Answered(Event, frozen=True, kw_only=True, tag="answered"):
    """A call has ended; its answer and its charge are one event, so neither is there without the other.

    `charge_nanousd` is None where it was never learned: then all that was held stays booked. `body` is the answer,
    or `{"$object": DIGEST}` where it is large.
    """

    call: str
    charge_nanousd: int | None
    request: str = ""
    outcome: Literal["finished", "failed", "cancelled"] = "finished"
    error: str = ""
    body: Any = None


class Doubted(Event, frozen=True, kw_only=True, tag="doubted"):
    """A call is sent again after its connection or its runner was lost: what was begun before may have been charged.

    `nanousd` is its worst case, booked as lost; negative when the answer shows that nothing was done twice.
    """

    call: str
    nanousd: int


class Chosen(Event, frozen=True, kw_only=True, tag="chosen"):
    """What was decided for a step, and why."""

    step: str
    why: str


class StepEnded(Event, frozen=True, kw_only=True, tag="step_ended"):
    """A step's result, under the digest of version, name and inputs. `result` may be `{"$object": DIGEST}`."""

    step: str
    key: str
    result: Any


class Ended(Event, frozen=True, kw_only=True, tag="ended"):
    """The end. On failure: the step, the reason and the fix."""

    phase: RunPhase
    output: Any = None
    step: str = ""
    error: str = ""
    fix: str = ""


class Retried(Event, frozen=True, kw_only=True, tag="retried"):
    """Begun again, with what was done kept; from `step` on it is done anew. New bounds, if they were given."""

    cap_nanousd: int
    deadline_us: int
    step: str = ""


AnyEvent = Started | Called | Answered | Doubted | Chosen | StepEnded | Ended | Retried


class StageCost(msgspec.Struct, kw_only=True):
    """One stage's part of the bill."""

    calls: int = 0
    spent_nanousd: int = 0
    lost_nanousd: int = 0


class Run(msgspec.Struct, kw_only=True):
    """What is so. `results` by step key; `open` calls at work; `attempts` counts the calls of each place."""

    started: Started
    phase: RunPhase = "running"
    cap_nanousd: int = 0
    deadline_us: int = 0
    spent_nanousd: int = 0
    lost_nanousd: int = 0
    results: dict[str, Any] = {}
    answers: dict[str, Any] = {}
    steps: list[tuple[str, str]] = []
    open: dict[str, Called] = {}
    attempts: dict[str, int] = {}
    stages: dict[str, StageCost] = {}
    chosen: list[Chosen] = []
    ended: Ended | None = None

    @property
    def held_nanousd(self) -> int:
        """The worst case of all that is at work."""
        return sum(call.held_nanousd for call in self.open.values())

    @property
    def left_nanousd(self) -> int:
        """What a further call may come to."""
        return self.cap_nanousd - self.spent_nanousd - self.lost_nanousd - self.held_nanousd

    def take(self, event: AnyEvent) -> None:
        """The next event."""
        match event:
            case Called():
                self.open[event.call] = event
                place, _, attempt = event.call.rpartition("/")
                self.attempts[place] = max(self.attempts.get(place, 0), int(attempt))
                self.stages.setdefault(stage(event.step), StageCost()).calls += 1
            case Answered():
                self._settle(event)
            case Doubted():
                self.lost_nanousd += event.nanousd
                self.stages[stage(self.open[event.call].step)].lost_nanousd += event.nanousd
            case StepEnded():
                self.results[event.key] = event.result
                self._forget(event.step, event.key)
                self.steps.append((event.step, event.key))
            case Chosen():
                self.chosen.append(event)
            case Ended():
                self.phase, self.ended = event.phase, event
            case Retried():
                self._again(event)
            case Started():
                raise ValueError("a journal begins once")

    def _settle(self, event: Answered) -> None:
        called = self.open.pop(event.call, None)
        if called is None:
            return  # told twice
        if event.outcome == "finished":
            self.answers[event.call.rpartition("/")[0]] = event.body
        cost = self.stages[stage(called.step)]
        if event.charge_nanousd is None:
            self.lost_nanousd += called.held_nanousd
            cost.lost_nanousd += called.held_nanousd
        else:
            self.spent_nanousd += event.charge_nanousd
            cost.spent_nanousd += event.charge_nanousd

    def _forget(self, step: str, key: str) -> None:
        """The answers that a step was made of."""
        origin = place(step, key) + "/"
        for name in [name for name in self.answers if name.startswith(origin)]:
            del self.answers[name]

    def _again(self, event: Retried) -> None:
        self.phase, self.ended = "running", None
        self.cap_nanousd, self.deadline_us = event.cap_nanousd, event.deadline_us
        first = next((i for i, (step, _) in enumerate(self.steps) if stage(step) == event.step), len(self.steps))
        for _, key in self.steps[first:]:
            self.results.pop(key, None)
        self.steps = self.steps[:first]


def place(step: str, key: str) -> str:
    """Where a step's calls are asked from: its name, and enough of its key.

    >>> place("a[1]", "0123456789abcdef" * 2 + "01234567-2")
    'a[1]#0123456789ab-2'
    """
    return f"{step}#{key[:12]}{key[40:]}"


def stage(step: str) -> str:
    """The declared step of one of its instances.

    >>> stage("answer[3]@2")
    'answer'
    """
    return step.partition("[")[0].partition("@")[0]


def fold(events: Iterable[AnyEvent]) -> Run:
    """The state after these events, the first of which is `Started`. Raises ValueError without one."""
    every = iter(events)
    first = next(every, None)
    if not isinstance(first, Started):
        raise ValueError("a journal begins with `started`")
    run = Run(started=first, cap_nanousd=first.cap_nanousd, deadline_us=first.deadline_us)
    for event in every:
        run.take(event)
    return run
