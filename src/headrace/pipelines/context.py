"""One run at work: steps answered from the journal where they are done, calls that are held for, sent, tried again.

Each result and its cost are committed together, before anything that follows from them begins. A step is found again
by the digest of the pipeline's version, the step's name and its inputs, so a run that starts over repeats nothing.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from headrace.errors import HeadraceError, Invalid, Permanent, Refused, Unreachable
from headrace.pipelines import artifacts
from headrace.pipelines.journal import Journal
from headrace.pipelines.ports import CHILD, Clock, Models, Quote, Runs, Said, Web, child_of
from headrace.pipelines.shelf import Shelf
from headrace.state.run import Answered, AnyEvent, Bounded, Cached, Called, Chosen, Doubted, Run, Settled, StepEnded
from headrace.state.run import place as place_of

INLINE_BYTES_MAX: Final = 64 << 10
BACKOFF_FIRST_US, BACKOFF_LAST_US = 250_000, 10_000_000
SETTLING_US: Final = (0, 50_000, 150_000, 400_000)  # between looks for what was cut off, before the end of a run
LATER_US: Final = (1_000_000, 3_000_000, 10_000_000, 30_000_000)  # and after it
LATE_US: Final = 5_000_000  # a gateway may read a call so long after its sender has gone
AWAY_US: Final = 200_000  # between looks for a gateway that is away
_AGAIN: Final = frozenset({408, 409, 429, 500, 502, 503, 504})
_HOPELESS: Final = frozenset({"insufficient_quota", "invalid_api_key", "model_not_found"})


class StepFailed(HeadraceError):
    """A step cannot go on. `fix` says what would help."""

    def __init__(self, step: str, reason: str, fix: str) -> None:
        super().__init__(f"step {step}: {reason}; {fix}")
        self.step, self.reason, self.fix = step, reason, fix


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One call a step could make. `path` like `/v1/chat/completions`; `why` says what this alternative is.

    `agent_step`: it counts as a step of an agent in the books. `form`: the body is sent as a form, not as JSON.
    """

    path: str
    body: dict[str, Any]
    why: str = ""
    agent_step: bool = False
    form: bool = False


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how often."""

    retries: int = 2
    timeout_us: int = 60_000_000


class World(msgspec.Struct, frozen=True, kw_only=True):
    """The ports of a run."""

    models: Models
    runs: Runs
    objects: Shelf
    clock: Clock
    web: Web


class Context:
    """What steps are made with."""

    def __init__(self, run: Run, world: World, told: Callable[[AnyEvent], None] = lambda _: None) -> None:
        self.run, self.world = run, world
        journal = self._journal = Journal(run, world.runs, told)
        self.tell, self.tell_soon, self.saved = journal.tell, journal.tell_soon, journal.saved
        self.objects = world.objects.of(run.started.tenant, run.started.run)
        self._width = asyncio.Semaphore(run.started.width)
        self._ordinals: dict[str, int] = {}
        self._places: dict[str, int] = {}
        self._doubts: set[str] = set()
        self._late_answers: dict[str, list[Answered]] = {}
        self.leaving = False

    @property
    def now_us(self) -> int:
        """The wall clock."""
        return self.world.clock.now_us()

    async def orphans(self) -> None:
        """At the end of a run: what a killed runner had at work and no step asked for again stays booked whole."""
        left = list(self.run.open)
        if left:
            await self.tell(*(Answered(at_us=self.now_us, call=call, charge_nanousd=None, outcome="cancelled",
                                       error="its step was not asked for again") for call in left))  # fmt: skip

    async def reconcile(self, waits_us: Sequence[int]) -> None:
        """At the end of a run: what calls that were cut off or sent again really came to, as the gateways' records say.

        1. A call that was sent once has one record, a moment after its end. 2. Of one that was sent again, and of one
        without a record, the sum is known when the gateways have settled all that they had by now, the killed ones too.
        What is not known after the last wait stays booked at its worst case.
        """
        run = self.run.started
        for wait_us in waits_us:
            if not self.run.unsettled:
                return
            await asyncio.sleep(wait_us / 1e6)
            with contextlib.suppress(Unreachable):
                found = await self.world.models.charges(run.key, run.run, run.at_us)
                for name, call in list(self.run.unsettled.items()):
                    charge = found.by_call.get(name)
                    if call.model.startswith("pipeline/"):
                        charge = await self.world.models.charge(run.key, child_of(f"{run.run}/{name}"))
                    elif self.run.spans[name].ended_us + LATE_US < found.until_us:
                        charge = charge or 0
                    elif name in self.run.doubts:
                        charge = None
                    if charge is not None:
                        charge = min(charge, call.held_nanousd + self.run.doubts.get(name, (call, 0))[1])
                        await self.tell(Settled(at_us=self.now_us, call=name, charge_nanousd=charge))

    async def step(self, name: str, inputs: Any, work: Callable[[str], Awaitable[Any]], *, soon: bool = False) -> Any:
        """The result of a step: from the journal, or of `work`, journaled. `work` is given the place to ask from.

        `soon`: its end is committed with what is told next, for who does nothing outside without telling it first.
        """
        key = self.key(name, inputs)
        if key in self.run.results:
            return await self._whole(self.run.results[key])
        origin = place_of(name, key)
        try:
            result = msgspec.to_builtins(await work(origin))
            kept = await self._kept(result)
        except BaseException:
            await asyncio.shield(self.tell(*self._late_answers.pop(origin, ())))
            raise
        late = [msgspec.structs.replace(one, body=None) for one in self._late_answers.pop(origin, ())]
        ended = StepEnded(at_us=self.now_us, step=name, key=key, result=kept)  # it has all they said
        if soon:
            self.tell_soon(*late, ended)
        else:
            await self.tell(*late, ended)
        return msgspec.json.decode(msgspec.json.encode(result))

    async def cached(self, step: str, subject: Any, age_us: int, work: Callable[[], Awaitable[Any]]) -> Any:
        """What another run of the tenant made of the same subject within so long, else the result of `work`, kept."""
        tenant = self.run.started.tenant
        digest = hashlib.sha256(msgspec.json.encode(subject, order="deterministic")).hexdigest()
        found = self.world.runs.cached(tenant, digest)
        if found is not None and not self.run.anew and self.now_us - found.at_us <= age_us:
            with contextlib.suppress(Permanent):  # its run is being forgotten, and what it had with it
                value = await self._whole(msgspec.json.decode(found.data))
                await self.objects.hold(artifacts.holdings(value))
                if self.world.runs.cached(tenant, digest) == found:
                    ago_s = (self.now_us - found.at_us) // 1_000_000
                    why = f"not asked: {found.run} had the same answer {ago_s} s before"
                    await self.tell(Chosen(at_us=self.now_us, step=step, why=why))
                    return value
        result = await work()
        data = msgspec.json.encode(await self._kept(result))
        await self.world.runs.remember(tenant, digest, Cached(self.run.started.run, self.now_us, data), age_us)
        return result

    async def _kept(self, value: Any) -> Any:
        """The value, or where it is kept when it is large. What it mentions is this run's as well from now on."""
        data = msgspec.json.encode(value)
        if artifacts.MARK.encode() in data:
            await self.objects.hold(artifacts.holdings(value))
        if len(data) <= INLINE_BYTES_MAX and not artifacts.is_kept(value):
            return value
        return {"$object": await self.objects.put(data)}

    def key(self, name: str, inputs: Any) -> str:
        """The digest of version, name, inputs, and how often they were given before in this run."""
        text = msgspec.json.encode([self.run.started.version, name, inputs], order="deterministic")
        digest = hashlib.sha256(text).hexdigest()
        count = self._ordinals[digest] = self._ordinals.get(digest, 0) + 1
        return f"{digest[:40]}-{count}"

    async def _whole(self, kept: Any) -> Any:
        return await artifacts.whole(self.objects, kept)

    # --- calls --------------------------------------------------------------------------------------------------

    async def bound(self, scope: str, cap_nanousd: int | None, time_us: int | None) -> None:
        """Begin an agent: its calls count against bounds of its own, too. A run that goes on keeps those it had."""
        if scope not in self.run.scopes:
            cap = self.run.cap_nanousd if cap_nanousd is None else cap_nanousd
            end_us = self.run.deadline_us if time_us is None else self.now_us + time_us
            await self.tell(Bounded(at_us=self.now_us, scope=scope, cap_nanousd=cap, deadline_us=end_us))

    async def ask(
        self, origin: str, asks: Sequence[Ask], patience: Patience, scope: str = "", *, last: bool = False
    ) -> Any:
        """The answer of the first alternative that can be paid for. Raises StepFailed.

        `last`: the step ends with it and does nothing else, so the answer is committed together with the step's end.
        """
        number = self._places[origin] = self._places.get(origin, 0) + 1
        place, step = f"{origin}/{number}", origin.partition("#")[0]
        if place in self.run.answers:
            return await self._whole(self.run.answers[place])
        try:
            self.objects.check()
        except Invalid as full:
            raise StepFailed(step, full.message, "then: headrace pipeline retry") from None
        async with self._width:
            delay_us, tried = BACKOFF_FIRST_US, 0
            while True:
                said, why = await self._attempt(place, step, asks, patience, scope, last=last)
                if said is not None and said.status == 200:
                    return said.body
                message, code = _error(said) if said is not None else (why, "")
                if said is not None and (said.status not in _AGAIN or code in _HOPELESS):
                    raise StepFailed(step, message, "change the step or the budget, then: headrace pipeline retry")
                tried += 1
                if tried > patience.retries:
                    raise StepFailed(
                        step, f"{message} ({tried} attempts)", "raise `retries`, or: headrace pipeline retry"
                    )
                wait_us = max(delay_us, said.retry_after_us if said is not None else 0)
                await self.pause(step, min(wait_us, BACKOFF_LAST_US), scope)
                delay_us *= 2

    async def _attempt(
        self, place: str, step: str, asks: Sequence[Ask], patience: Patience, scope: str, *, last: bool
    ) -> tuple[Said | None, str]:
        """One attempt: what was said, or why nothing was."""
        known = set(self.run.open)
        called, ask = await self._held(place, step, asks, scope)
        time_us = min(patience.timeout_us, self.run.deadline(scope) - self.now_us)
        if time_us <= 0:
            await self._lost(called, "its deadline has passed")
            raise self._late(step, scope)
        try:
            async with asyncio.timeout(time_us / 1e6):
                said = await self._sent(called, ask, again=called.call in known)
        except TimeoutError:
            await self._lost(called, "no answer in time")
            if self.run.deadline(scope) <= self.now_us:
                raise self._late(step, scope) from None
            return None, f"no answer within {time_us / 1e6:g} s"
        except StepFailed:
            await self._lost(called, "its connection was lost")
            raise
        except asyncio.CancelledError:
            if not self.leaving:
                await asyncio.shield(self._lost(called, "cancelled: another answer was good enough, or the run ended"))
            raise
        charge = said.charge_nanousd
        if said.status != 200:
            charge = None if said.status == 409 else charge or 0
        good = said.status == 200
        body = await artifacts.taken(self.objects, said.body) if good else None
        answered = Answered(
            at_us=self.now_us,
            call=called.call,
            charge_nanousd=charge,
            request=said.request,
            outcome="finished" if good else "failed",
            error="" if good else _error(said)[0],
            body=await self._kept(body),
        )
        if good and last:
            self._late_answers.setdefault(place.rpartition("/")[0], []).append(answered)
        else:
            await self.tell(answered)
        return msgspec.structs.replace(said, body=body) if good else said, ""

    async def _sent(self, called: Called, ask: Ask, *, again: bool) -> Said:
        """Asked under the call's own key, again and again while the gateway is away: it never works twice for it."""
        key, run = self.run.started.key, self.run.started.run
        body = await artifacts.filled(self.objects, ask.body, form=ask.form)
        while True:
            if again and ask.path != CHILD:  # a child is found again, never begun twice
                await self._doubt(called)
            again = True
            try:
                said = await self.world.models.send(
                    key, ask.path, body, once=f"{run}/{called.call}", label=f"{run}/{called.call}",
                    cap_nanousd=called.held_nanousd, agent_step=ask.agent_step)  # fmt: skip
                if said.status == 409 and "at work" in _error(said)[0]:
                    again = False  # it was not begun again
                    await asyncio.sleep(AWAY_US / 1e6)
                    continue
                if said.replayed and called.call in self._doubts:
                    await self.tell(Doubted(at_us=self.now_us, call=called.call, nanousd=-called.held_nanousd))
                if said.status == 200 and said.charge_nanousd is None:
                    charge = await self.world.models.charge(key, said.request)
                    return msgspec.structs.replace(said, charge_nanousd=charge)
                return said
            except Unreachable:
                await asyncio.sleep(AWAY_US / 1e6)

    async def _doubt(self, called: Called) -> None:
        """What was sent before may have been charged, wholly or in part: that much is set aside. Raises StepFailed."""
        if called.held_nanousd > self.run.left_nanousd:
            why = "its connection was lost, and what is left of the cap does not cover sending it again"
            raise StepFailed(called.step, why, "raise --cost with: headrace pipeline retry")
        self._doubts.add(called.call)
        await self.tell(Doubted(at_us=self.now_us, call=called.call, nanousd=called.held_nanousd))

    async def _held(self, place: str, step: str, asks: Sequence[Ask], scope: str) -> tuple[Called, Ask]:
        """The call that a killed runner left at this place, or a new one whose worst case fits what is left."""
        for call in self.run.open.values():
            if call.call.rpartition("/")[0] == place:
                return call, asks[min(call.choice, len(asks) - 1)]
        why = ""
        for choice, ask in enumerate(asks):
            quote = await self.quote(step, ask)
            while True:
                left = self.run.left(scope)
                if quote.worst_nanousd <= left:
                    attempt = self.run.attempts.get(place, 0) + 1
                    called = Called(at_us=self.now_us, call=f"{place}/{attempt}", step=step,
                                    model=str(ask.body.get("model", "")), held_nanousd=quote.worst_nanousd,
                                    choice=choice, scope=scope)  # fmt: skip
                    self.run.open[called.call] = called  # from this moment nobody else may have it
                    chosen = [Chosen(at_us=self.now_us, step=step, why=f"{ask.why}, since {why}")] if why else []
                    try:
                        await self.tell(*chosen, called)
                    except asyncio.CancelledError:
                        await asyncio.shield(self._lost(called, "cancelled before it was sent", charge_nanousd=0))
                        raise
                    return called, ask
                why = f"{_dollars(quote.worst_nanousd)} at most is more than the {_dollars(left)} left of the cap"
                if quote.worst_nanousd > self.run.could(scope):
                    break
                await self._wait(step, scope)
        raise StepFailed(step, why, f"raise {self._bound(scope)}, or give `or_else`")

    def _bound(self, scope: str) -> str:
        """Which bound ended a step, and what it is."""
        own = self.run.scopes.get(scope)
        if own is None or self.run.left(scope) == self.run.left_nanousd:
            return f"limits.cost above {_dollars(self.run.cap_nanousd)}"
        return f"the agent's `cost` above {_dollars(own.cap_nanousd)}"

    async def quote(self, step: str, ask: Ask) -> Quote:
        """What a call would cost, asked for until the gateway is there. Raises StepFailed."""
        body = await artifacts.filled(self.objects, ask.body, form=ask.form)
        while True:
            try:
                return await self.world.models.quote(self.run.started.key, ask.path, body, agent_step=ask.agent_step)
            except Unreachable:
                await self.pause(step, AWAY_US)
            except (Invalid, Refused) as error:
                raise StepFailed(step, error.message, "change the step; see: headrace models") from None

    async def _wait(self, step: str, scope: str) -> None:
        """Until a call ends and what it held is free."""
        left_us = self.run.deadline(scope) - self.now_us
        if left_us <= 0:
            raise self._late(step, scope)
        try:
            await self._journal.moved(left_us)
        except TimeoutError:
            raise self._late(step, scope) from None

    async def pause(self, step: str, wait_us: int, scope: str = "") -> None:
        """Before another attempt. Raises StepFailed when there is no time for one."""
        if self.now_us + wait_us >= self.run.deadline(scope):
            raise self._late(step, scope)
        await asyncio.sleep(wait_us / 1e6)

    async def _lost(self, called: Called, error: str, charge_nanousd: int | None = None) -> None:
        await self.tell(Answered(at_us=self.now_us, call=called.call, charge_nanousd=charge_nanousd,
                                 outcome="cancelled", error=error))  # fmt: skip

    def _late(self, step: str, scope: str = "") -> StepFailed:
        own = self.run.deadline(scope) < self.run.deadline_us
        whose, bound = ("the agent", "the agent's `time`") if own else ("the run", "limits.time")
        return StepFailed(step, f"the deadline of {whose} has passed", f"raise {bound}, then: headrace pipeline retry")


def _error(said: Said) -> tuple[str, str]:
    """Message and code of a refusal."""
    error = said.body.get("error") if isinstance(said.body, dict) else None
    if not isinstance(error, dict):
        return f"the gateway answered {said.status}", ""
    return str(error.get("message", "")), str(error.get("code") or "")


def _dollars(nanousd: int) -> str:
    return f"${nanousd / 1e9:.9f}"
