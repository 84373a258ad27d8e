"""New versions on their way: deployed, judged by what their requests did, kept so that the next controller goes on.

What to do is `policy.rollout`'s; this counts and carries out. Counters are kept with each step and at least every two
seconds: a controller that dies loses two seconds of evidence, never a step.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import msgspec

from headrace import telemetry
from headrace.control.catalogs import ROLLOUTS
from headrace.control.records import Records
from headrace.errors import Invalid, Transient
from headrace.policy import agreement, in_force
from headrace.policy import rollout as policy
from headrace.policy.actions import Hold
from headrace.policy.rollout import Seen
from headrace.ports import Clock, Store
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.fleet import Fleet
from headrace.state.likeness import Likeness
from headrace.state.rollout import Rollout, Tally
from headrace.state.usage import Usage
from headrace.units import US_PER_S, format_us

KEEP_US: Final = 2 * US_PER_S
CRAMPED_US: Final = 5 * US_PER_S  # without room for the candidate before others give way
BASELINE: Final = 400  # requests of the stable version that are looked at when a rollout begins
BASELINE_US: Final = 7 * 24 * 3600 * US_PER_S  # and not older: what served it then is not what serves it now
SLOW_PERCENT: Final = 200  # of the time to first token, from sending on, that 95 of 100 kept with the stable version
DEAR_PERCENT: Final = 125  # of what a token cost with the stable version
_BASELINE_LEAST: Final = 20
_NAME: Final = ROLLOUTS
_US_PER_HOUR: Final = 3600 * US_PER_S
_THERE: Final = frozenset({"pending", "starting", "waking", "ready"})


class Round(Protocol):
    """What a round of the loop knows."""

    fleet: Fleet
    holds: tuple[Hold, ...]
    catalog: Catalog

    def fault(self, model: ModelSpec) -> str:
        """Why a model version cannot be served, empty when it can."""
        ...


class Rollouts:
    """The rollouts of one cloud, one a model: the one under way, or the last one while it is in force."""

    def __init__(self, store: Store, records: Records, clock: Clock) -> None:
        self._store = store
        self._records = records
        self._clock = clock
        kept = store.get(_NAME)
        self._rollouts = {} if kept is None else msgspec.json.decode(kept, type=dict[str, Rollout])
        self._tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
        self._rows: list[Usage] = []
        self._cramped: dict[str, int] = {}
        self._kept_us = 0
        self._unkept = False

    @property
    def all(self) -> Mapping[str, Rollout]:
        """By model name."""
        return self._rollouts

    # --- what administrators do ---------------------------------------------------------------------------------

    def deploy(
        self,
        declared: Catalog,
        candidate: ModelSpec,
        *,
        first: int = 5,
        automatic: bool = True,
        shadow: int = 0,
        agree: int = 0,
    ) -> Rollout:
        """Begin: `candidate` against the version that has the most traffic now. Raises Invalid."""
        name = candidate.name
        versions = in_force.of(in_force.catalog(declared, self._rollouts), name)
        others = [model for model in versions if model.version != candidate.version and model.weight > 0]
        if not in_force.of(declared, name):
            raise _refused(f"there is no model {name}; apply a cloud file that has it first", 404)
        going = self._rollouts.get(name)
        if going is not None and going.under_way:
            what = f"{name}@{going.candidate} is on its way with {going.share} %"
            raise _refused(f"{what}; promote it or roll it back first", 409)
        if not others:
            raise _refused(f"{candidate.key} has all the traffic of {name} already; deploy another version", 409)
        stable = max(others, key=lambda model: (model.weight, model.version))
        before = {model.version: model.weight for model in versions if model.version != candidate.version}
        now_us = self._clock.now_us()
        rows = self._served(name, stable.version)
        rollout = Rollout(
            model=name,
            stable=stable.version,
            candidate=candidate.version,
            spec=msgspec.structs.replace(candidate, weight=0),
            before=before,
            began_us=now_us,
            changed_us=now_us,
            first=first,
            automatic=automatic and not shadow,
            dear_nanousd=_dear(declared, stable, rows),
            slow_us=_slow(rows),
            shadow=shadow,
            agree=agree,
            reason=f"{shadow} % of requests are copied to it" if shadow else "deployed",
        )
        if rollout.solo:
            old = _sum(_tally(row, rollout, declared) for row in rows)
            rollout = msgspec.structs.replace(rollout, old=old)
        self._put(rollout, "shadow" if shadow else "deploy")
        return rollout

    def _served(self, model: str, version: str) -> list[Usage]:
        """What a version's last requests came to."""
        since_us = self._clock.now_us() - BASELINE_US
        rows = self._store.usage_list(limit=BASELINE, model=model)
        return [row for row in rows if row.version == version and row.arrived_us >= since_us]

    def promote(self, name: str) -> Rollout:
        """All traffic to the candidate, whatever was seen, unless its answers had to agree. Raises Invalid."""
        rollout = self._under_way(name)
        if rollout.phase == "warming":
            raise _refused(f"no replica of {name}@{rollout.candidate} is ready yet; wait, or roll it back", 409)
        lack = agreement.lacks(rollout.agreement, rollout.agree)
        if lack:
            raise _refused(f"{name}@{rollout.candidate} may not be promoted: {lack}", 409)
        return self._put(policy.whole(rollout, _asked(rollout), self._clock.now_us()), "promote")

    def rollback(self, name: str) -> Rollout:
        """All traffic back to the versions before; also of one that was promoted. Raises Invalid."""
        rollout = self._rollouts.get(name)
        if rollout is None or rollout.phase in ("rolled_back", "ended"):
            raise _refused(f"{name} has no rollout to take back; see: headrace model status", 409)
        return self._put(policy.back(rollout, _asked(rollout), self._clock.now_us()), "rollback")

    def _under_way(self, name: str) -> Rollout:
        rollout = self._rollouts.get(name)
        if rollout is None or not rollout.under_way:
            raise _refused(f"nothing is on its way for {name}; begin with: headrace model deploy {name}@VERSION", 409)
        return rollout

    def applied(self, before: Catalog, after: Catalog) -> None:
        """Another cloud file is in force: rollouts of models that it says something new about are over."""
        for name, rollout in list(self._rollouts.items()):
            if in_force.stands(rollout, before, after):
                continue
            del self._rollouts[name]
            self._records.decide("rollout.over", f"{name}@{rollout.candidate}", "the cloud file says otherwise now")
            self._unkept = True
        self._keep()

    # --- what is seen -------------------------------------------------------------------------------------------

    def heard(self, row: Usage) -> None:
        """A request ended."""
        rollout = self._rollouts.get(row.model)
        if rollout is None or not rollout.under_way or rollout.phase == "warming":
            return
        if row.version in (rollout.stable, rollout.candidate) and row.arrived_us >= rollout.changed_us:
            self._rows.append(row)

    def compared(self, pair: Likeness) -> None:
        """A copy of a request was answered by a version that is only watched."""
        rollout = self._rollouts.get(pair.model)
        if rollout is None or rollout.phase != "shadow" or pair.at_us < rollout.changed_us:
            return
        if (pair.against, pair.version) == (rollout.stable, rollout.candidate):
            grown = rollout.agreement.plus(pair)
            self._rollouts[pair.model], self._unkept = msgspec.structs.replace(rollout, agreement=grown), True

    def turn(self, seen: Round) -> bool:
        """Judge each; whether anything is to be served differently now."""
        self._count(seen.catalog)
        now_us, changed = self._clock.now_us(), False
        for name, rollout in list(self._rollouts.items()):
            if not rollout.under_way:
                continue
            after = self._look(rollout, seen, now_us)
            after = self._make_way(after, seen, now_us)
            if after is rollout:
                continue
            self._rollouts[name], self._unkept = after, True
            if (after.phase, after.share, after.leave) != (rollout.phase, rollout.share, rollout.leave):
                changed = True
                self._told("step" if after.under_way else after.phase, after)
        if changed or now_us - self._kept_us >= KEEP_US:
            self._keep()
        return changed

    def _look(self, rollout: Rollout, seen: Round, now_us: int) -> Rollout:
        model = rollout.spec
        found = Seen(
            ready=any(replica.phase == "ready" for replica in seen.fleet.of(model.key)) or not model.owned,
            fault=seen.fault(model),
            old=self._tallies.pop((rollout.model, rollout.stable), Tally()),
            new=self._tallies.pop((rollout.model, rollout.candidate), Tally()),
            patience_us=max(2 * model.scaling.start_timeout_us, 600 * US_PER_S),
        )
        return policy.look(rollout, found, now_us)

    def _make_way(self, rollout: Rollout, seen: Round, now_us: int) -> Rollout:
        """Where no device has room for the candidate, the stable version leaves it one replica's place, or its own."""
        key = rollout.spec.key
        held = next((hold.reason for hold in seen.holds if hold.model == key), "")
        there = any(replica.phase in _THERE for replica in seen.fleet.of(key))
        if rollout.phase != "warming" or not held or there or rollout.leave:
            self._cramped.pop(rollout.model, None)
            return rollout
        if now_us - self._cramped.setdefault(rollout.model, now_us) < CRAMPED_US or rollout.shadow:
            return rollout
        mine = [r for r in seen.fleet.of(f"{rollout.model}@{rollout.stable}") if r.phase in _THERE]
        rows = self._served(rollout.model, rollout.stable)
        solo = msgspec.structs.replace(rollout, alone=True)
        served = _sum(_tally(row, solo, seen.catalog) for row in rows)
        return policy.without_room(rollout, len(mine), served, held, now_us)

    def _count(self, catalog: Catalog) -> None:
        rows, self._rows = self._rows, []
        for row in rows:
            rollout = self._rollouts.get(row.model)
            if rollout is not None and row.arrived_us >= rollout.changed_us:
                place = (row.model, row.version)
                self._tallies[place] = self._tallies[place].plus(_tally(row, rollout, catalog))

    # --- how it is kept -----------------------------------------------------------------------------------------

    def _put(self, rollout: Rollout, what: str) -> Rollout:
        """What an administrator asked for is kept before it is in force. Raises Transient when it cannot be."""
        changed = {**self._rollouts, rollout.model: rollout}
        self._store.put(_NAME, msgspec.json.encode(changed))
        self._rollouts = changed
        self._told(what, rollout)
        return rollout

    def _keep(self) -> None:
        """Keep what has changed; a disk that is full stops no step, and is tried again."""
        self._kept_us = self._clock.now_us()
        if not self._unkept:
            return
        try:
            self._store.put(_NAME, msgspec.json.encode(self._rollouts))
            self._unkept = False
        except Transient as error:
            telemetry.logger().error("rollouts.waiting", reason=error.message)

    def _told(self, what: str, rollout: Rollout) -> None:
        key, took = f"{rollout.model}@{rollout.candidate}", format_us(self._clock.now_us() - rollout.began_us)
        reason = f"{rollout.share} % of {rollout.model}: {rollout.reason} ({took} since it began)"
        self._records.decide(f"rollout.{what}", key, reason, stable=rollout.stable, share=rollout.share)


def _tally(row: Usage, rollout: Rollout, catalog: Catalog) -> Tally:
    """One request. Only what the cloud itself did wrong is an error; what a client did is none.

    One that was held while a replica started says nothing of the version's pace: it waited for the start, and went out
    together with all who did, on a replica that had not worked yet; and so did who came before the backlog was served.
    Where nothing serves beside it, a wait for a slot counts for nothing, for the other had another load.
    """
    model = catalog.model(f"{row.model}@{row.version}") or rollout.spec
    broken = row.status >= 500 and row.outcome == "failed"
    tokens = row.output_tokens if row.task == "chat" else row.input_tokens
    cost = _cost_nanousd(catalog, model, _slots(catalog, rollout), row.busy_us)
    dear = bool(rollout.dear_nanousd and cost and tokens and cost * 1000 > rollout.dear_nanousd * tokens)
    serving_us = row.first_us - min(row.first_us, row.queue_us)
    late = (serving_us if rollout.solo else row.first_us) > model.objective.ttft_us
    late = late or bool(rollout.slow_us and serving_us > rollout.slow_us)
    paced = not (row.cold or (row.version == rollout.candidate and row.arrived_us < rollout.calm_us))
    return Tally(
        requests=1,
        errors=int(broken),
        slow=int(broken or (late and paced)),
        dear=int(dear and paced),
        unpaced=int(not (paced or broken)),
        ttft_us=row.first_us,
        ttfts=int(row.first_us > 0),
        tokens=tokens,
        cost_nanousd=cost,
    )


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total = total.plus(tally)
    return total


def _slots(catalog: Catalog, rollout: Rollout) -> int:
    """Both versions are charged for slots of the same size: half as many slots do not make each work cost twice."""
    stable = catalog.model(f"{rollout.model}@{rollout.stable}")
    return stable.engine.slots if stable else rollout.spec.engine.slots


def _cost_nanousd(catalog: Catalog, model: ModelSpec, slots: int, busy_us: int) -> int:
    """What a slot was worth that long on the first of the model's pools; 0 when nobody said what a device costs."""
    pool = catalog.pool(model.pools[0]) if model.pools else None
    rate = pool.price_nanousd_per_hour if pool else None
    return 0 if rate is None else busy_us * rate // (_US_PER_HOUR * slots)


def _slow(rows: list[Usage]) -> int:
    """The most from sending to the first token, in microseconds; 0 when too little was served to say."""
    told = sorted(row.first_us - row.queue_us for row in rows if row.first_us > row.queue_us and not row.cold)
    return told[len(told) * 95 // 100] * SLOW_PERCENT // 100 if len(told) >= _BASELINE_LEAST else 0


def _dear(catalog: Catalog, stable: ModelSpec, rows: list[Usage]) -> int:
    """The most that 1,000 tokens may cost, in nano-dollars; 0 when too little was served to say."""
    told = [row for row in rows if row.outcome == "finished"]
    tokens = sum(row.output_tokens if row.task == "chat" else row.input_tokens for row in told)
    cost = sum(_cost_nanousd(catalog, stable, stable.engine.slots, row.busy_us) for row in told)
    return cost * 1000 * DEAR_PERCENT // (100 * tokens) if len(told) >= _BASELINE_LEAST and tokens else 0


def _asked(rollout: Rollout) -> str:
    """Why an administrator's word was followed, with what is known of the answers."""
    told = f"; {agreement.found(rollout.agreement)}" if rollout.shadow else ""
    return f"an administrator asked for it{told}"


def _refused(message: str, status: int) -> Invalid:
    return Invalid(message, code="not_found" if status == 404 else "conflict", status=status)
