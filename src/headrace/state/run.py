"""A run of a pipeline as its journal tells it: events, and the state they fold to. Pure.

The journal is the truth: `fold` of the same events is the same state, so a runner that was killed at any event goes on
from there. Money is nano-dollars, moments are microseconds of the wall clock. At every event

    spent + lost + sum of held <= cap

where `held` is the worst case of each call at work and `lost` the worst case of calls whose charge was never learned.
The same holds within the bounds of each agent (`Scope`).
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
    depth: int = 0


class Bounded(Event, frozen=True, kw_only=True, tag="bounded"):
    """An agent begins; `scope` is the place it asks from. Its bounds lie within the run's."""

    scope: str
    cap_nanousd: int
    deadline_us: int


class Called(Event, frozen=True, kw_only=True, tag="called"):
    """A call is about to be sent; `held_nanousd` is the most it may come to. `call` is STEP#KEY/NUMBER/ATTEMPT;
    `choice` says which of the step's alternatives it is, 0 the first; `scope` whose bounds it counts against too.
    """

    call: str
    step: str
    model: str
    held_nanousd: int
    choice: int = 0
    scope: str = ""


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


class Settled(Event, frozen=True, kw_only=True, tag="settled"):
    """What a call that was cut off or sent again really came to, all its requests together, as the usage records of
    the gateways say.
    """

    call: str
    charge_nanousd: int


class ToolBegan(Event, frozen=True, kw_only=True, tag="tool_began"):
    """A tool is about to be called, from `place`. One that began and has no end after a crash may have acted."""

    step: str
    place: str
    tool: str


class ToolFailed(Event, frozen=True, kw_only=True, tag="tool_failed"):
    """A tool's failure ended its agent; a retried run may call it again."""

    place: str
    error: str


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


AnyEvent = (
    Started | Bounded | Called | Answered | Doubted | Settled | ToolBegan | ToolFailed | Chosen | StepEnded | Ended
    | Retried
)  # fmt: skip


class Cached(msgspec.Struct, frozen=True):
    """A step's result as JSON, which run made it and when; for other runs of its tenant."""

    run: str
    at_us: int
    data: bytes


class StageCost(msgspec.Struct, kw_only=True):
    """One stage's part of the bill. `cut_nanousd` of what was spent went to calls that were cut off."""

    calls: int = 0
    spent_nanousd: int = 0
    lost_nanousd: int = 0
    cut_nanousd: int = 0


class Scope(msgspec.Struct, kw_only=True):
    """An agent's bounds, and what of its money is spent or lost; what is held for it stands in `Run.open`."""

    cap_nanousd: int
    deadline_us: int
    used_nanousd: int = 0


class Span(msgspec.Struct, kw_only=True):
    """A call of a model or a tool: when, and what it cost. `name` is the model or the tool; None: not known."""

    step: str
    kind: Literal["call", "tool"]
    name: str
    started_us: int
    ended_us: int = 0
    outcome: str = "running"
    charge_nanousd: int | None = 0
    request: str = ""


class Run(msgspec.Struct, kw_only=True):
    """What is so. `results` by step key; `open` calls at work; `attempts` counts the calls of each place.

    `anew`: a step was asked to be done again, so nothing is taken from other runs. `tools` are at work by place.
    `cut` are calls whose charge was never learned; `doubts` those that were sent again after a connection broke, with
    what is booked as lost for that.
    `spans` by call or place.
    """

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
    cut: dict[str, Called] = {}
    doubts: dict[str, tuple[Called, int]] = {}
    tools: dict[str, ToolBegan] = {}
    scopes: dict[str, Scope] = {}
    spans: dict[str, Span] = {}
    attempts: dict[str, int] = {}
    stages: dict[str, StageCost] = {}
    chosen: list[Chosen] = []
    ended: Ended | None = None
    anew: bool = False

    @property
    def held_nanousd(self) -> int:
        """The worst case of all that is at work."""
        return sum(call.held_nanousd for call in self.open.values())

    @property
    def left_nanousd(self) -> int:
        """What a further call may come to."""
        return self.cap_nanousd - self.spent_nanousd - self.lost_nanousd - self.held_nanousd

    @property
    def unsettled(self) -> dict[str, Called]:
        """Calls for which more may be booked than they came to."""
        return self.cut | {name: called for name, (called, nanousd) in self.doubts.items() if nanousd}

    def left(self, scope: str = "") -> int:
        """What a further call may come to, within the bounds of an agent too. Nano-dollars."""
        bounds = self.scopes.get(scope)
        if bounds is None:
            return self.left_nanousd
        held = sum(call.held_nanousd for call in self.open.values() if call.scope == scope)
        return min(self.left_nanousd, bounds.cap_nanousd - bounds.used_nanousd - held)

    def could(self, scope: str = "") -> int:
        """What would be left if all that is at work cost nothing. Nano-dollars."""
        bounds, most = self.scopes.get(scope), self.left_nanousd + self.held_nanousd
        return most if bounds is None else min(most, bounds.cap_nanousd - bounds.used_nanousd)

    def deadline(self, scope: str = "") -> int:
        """When a call must have ended."""
        bounds = self.scopes.get(scope)
        return self.deadline_us if bounds is None else min(self.deadline_us, bounds.deadline_us)

    def take(self, event: AnyEvent) -> None:
        """The next event."""
        match event:
            case Called():
                self._call(event)
            case Answered():
                self._answer(event)
            case Doubted():
                called, before = self.doubts.get(event.call, (self.open[event.call], 0))
                self.doubts[event.call] = (called, before + event.nanousd)
                self._lose(called, event.nanousd)
            case Settled():
                self._settle(event)
            case StepEnded():
                self.results[event.key] = event.result
                self._forget(event.step, event.key)
                self.steps.append((event.step, event.key))
                told = isinstance(event.result, dict) and event.result.get("ok") is False
                self._end_tool(place(event.step, event.key), event.at_us, "failed" if told else "finished")
            case Chosen():
                self.chosen.append(event)
            case Bounded():
                self.scopes[event.scope] = Scope(cap_nanousd=event.cap_nanousd, deadline_us=event.deadline_us)
            case ToolBegan():
                self.tools[event.place] = event
                self.spans[event.place] = Span(step=event.step, kind="tool", name=event.tool, started_us=event.at_us)
            case ToolFailed():
                self._end_tool(event.place, event.at_us, "failed")
            case Ended():
                self.phase, self.ended = event.phase, event
            case Retried():
                self._again(event)
            case Started():
                raise ValueError("a journal begins once")

    def _call(self, event: Called) -> None:
        self.open[event.call] = event
        origin, _, attempt = event.call.rpartition("/")
        self.attempts[origin] = max(self.attempts.get(origin, 0), int(attempt))
        self.stages.setdefault(stage(event.step), StageCost()).calls += 1
        self.spans[event.call] = Span(step=event.step, kind="call", name=event.model, started_us=event.at_us)

    def _answer(self, event: Answered) -> None:
        called = self.open.pop(event.call, None)
        if called is None:
            return  # told twice
        if event.outcome == "finished":
            self.answers[event.call.rpartition("/")[0]] = event.body
        span = self.spans[event.call]
        span.ended_us, span.outcome, span.request = event.at_us, event.outcome, event.request
        span.charge_nanousd = event.charge_nanousd
        if event.charge_nanousd is None:
            self.cut[event.call] = called
            self._lose(called, called.held_nanousd)
        else:
            self._spend(called, event.charge_nanousd)

    def _settle(self, event: Settled) -> None:
        cut, doubt = self.cut.pop(event.call, None), self.doubts.pop(event.call, None)
        called = cut or (doubt and doubt[0])
        if called is None:
            return  # told twice
        more = event.charge_nanousd - (self.spans[event.call].charge_nanousd or 0)  # a cut one's is not known
        self._lose(called, -(cut.held_nanousd if cut else 0) - (doubt[1] if doubt else 0))
        self._spend(called, more)
        self.stages[stage(called.step)].cut_nanousd += more
        self.spans[event.call].charge_nanousd = event.charge_nanousd

    def _spend(self, called: Called, nanousd: int) -> None:
        self.spent_nanousd += nanousd
        self.stages[stage(called.step)].spent_nanousd += nanousd
        if called.scope in self.scopes:
            self.scopes[called.scope].used_nanousd += nanousd

    def _lose(self, called: Called, nanousd: int) -> None:
        self.lost_nanousd += nanousd
        self.stages[stage(called.step)].lost_nanousd += nanousd
        if called.scope in self.scopes:
            self.scopes[called.scope].used_nanousd += nanousd

    def _end_tool(self, origin: str, at_us: int, outcome: str) -> None:
        if self.tools.pop(origin, None) is not None:
            self.spans[origin].ended_us, self.spans[origin].outcome = at_us, outcome

    def _forget(self, step: str, key: str) -> None:
        """The answers that a step was made of."""
        origin = place(step, key) + "/"
        for name in [name for name in self.answers if name.startswith(origin)]:
            del self.answers[name]

    def _again(self, event: Retried) -> None:
        self.phase, self.ended = "running", None
        self.anew = self.anew or bool(event.step)
        self.scopes.clear()  # who asks for more gives each agent its bounds anew
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
