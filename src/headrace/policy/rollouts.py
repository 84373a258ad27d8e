"""The rollouts of one cloud, one a model: begun, told what ended, judged once a round. Pure.

The same object in a cloud, where `control.rollouts` keeps what it says in the database, and in the twin. What to do
with one rollout is `policy.rollout`'s; this keeps the counts, and knows which requests they are of.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

from headrace.errors import Invalid
from headrace.policy import agreement, in_force, tallying
from headrace.policy import rollout as policy
from headrace.policy.actions import Hold
from headrace.policy.rollout import Seen
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.fleet import Fleet, Replica
from headrace.state.likeness import Likeness
from headrace.state.rollout import Rollout, Tally
from headrace.state.usage import Usage
from headrace.units import US_PER_DAY, US_PER_S

CRAMPED_US: Final = 5 * US_PER_S  # without room for the candidate before others give way
BASELINE: Final = 400  # requests of the model that are looked at when a rollout begins
BASELINE_US: Final = 7 * US_PER_DAY  # and not older: what served it then is not what serves it now
PATIENCE_US: Final = 600 * US_PER_S  # at least, for the first replica
_THERE: Final = frozenset({"pending", "starting", "waking", "ready"})
Last = Callable[[str], list[Usage]]


class How(msgspec.Struct, frozen=True, kw_only=True):
    """What may be said of one that begins; as `state.rollout.Rollout` has it. `replicas` serve the model now."""

    first: int = 5
    automatic: bool = True
    shadow: int = 0
    agree: int = 0
    replicas: int = 1


USUAL: Final = How()


class Round(Protocol):
    """What a round of the slow brain knows."""

    @property
    def fleet(self) -> Fleet:
        """As it is."""
        ...

    @property
    def holds(self) -> tuple[Hold, ...]:
        """What was wanted and is not possible."""
        ...

    @property
    def catalog(self) -> Catalog:
        """What is in force."""
        ...

    def fault(self, model: ModelSpec) -> str:
        """Why a model version cannot be served, empty when it can."""
        ...

    def stands(self, key: str) -> tuple[str, ...]:
        """The pools where replicas of a model version are wanted, where those were chosen."""
        ...


class Rollouts:
    """By model: the one under way, or the last one while it is in force. `last` gives a model's last requests.

    Of those `BASELINE` at most, the version before is judged by. All moments are of one clock, that of the records.
    """

    def __init__(self, last: Last, kept: Mapping[str, Rollout]) -> None:
        self._last = last
        self._rollouts = dict(kept)
        self._tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
        self._rows: list[Usage] = []
        self._cramped: dict[str, int] = {}
        self._short_us: dict[str, int] = {}  # since when one has fewer replicas than its share needs

    @property
    def all(self) -> Mapping[str, Rollout]:
        """By model name."""
        return self._rollouts

    @property
    def under_way(self) -> frozenset[str]:
        """Models of which one is not decided yet."""
        return frozenset(name for name, rollout in self._rollouts.items() if rollout.under_way)

    # --- what is asked for --------------------------------------------------------------------------------------

    def begun(self, declared: Catalog, candidate: ModelSpec, now_us: int, how: How = USUAL) -> Rollout:
        """The beginning of one: `candidate` against the version that has the most traffic now. Raises Invalid."""
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
        rows = self._served(name, stable.version, now_us)
        rollout = Rollout(
            model=name,
            stable=stable.version,
            candidate=candidate.version,
            spec=msgspec.structs.replace(candidate, weight=0),
            before={model.version: model.weight for model in versions if model.version != candidate.version},
            began_us=now_us,
            changed_us=now_us,
            first=how.first,
            automatic=how.automatic and not how.shadow,
            dear_nanousd=tallying.dear_nanousd(declared, stable, rows),
            slow_us=tallying.slow_us(rows),
            shadow=how.shadow,
            agree=how.agree,
            replicas=max(1, how.replicas),
            reason=f"{how.shadow} % of requests are copied to it" if how.shadow else "deployed",
        )
        if rollout.solo:
            rollout = msgspec.structs.replace(rollout, old=tallying.total(rows, rollout, declared))
        return rollout

    def promoted(self, name: str, now_us: int) -> Rollout:
        """All traffic to the candidate, whatever was seen, unless its answers had to agree. Raises Invalid."""
        rollout = self._rollouts.get(name)
        if rollout is None or not rollout.under_way:
            raise _refused(f"nothing is on its way for {name}; begin with: headrace model deploy {name}@VERSION", 409)
        if rollout.phase == "warming":
            raise _refused(f"no replica of {name}@{rollout.candidate} is ready yet; wait, or roll it back", 409)
        lack = agreement.lacks(rollout.agreement, rollout.agree)
        if lack:
            raise _refused(f"{name}@{rollout.candidate} may not be promoted: {lack}", 409)
        return policy.whole(rollout, _asked(rollout), now_us)

    def taken_back(self, name: str, now_us: int) -> Rollout:
        """All traffic back to the versions before; also of one that was promoted. Raises Invalid."""
        rollout = self._rollouts.get(name)
        if rollout is None or rollout.phase in ("rolled_back", "ended"):
            raise _refused(f"{name} has no rollout to take back; see: headrace model status", 409)
        return policy.back(rollout, _asked(rollout), now_us)

    def take(self, rollout: Rollout) -> None:
        """What was asked for is in force from now on."""
        self._rollouts = {**self._rollouts, rollout.model: rollout}

    def applied(self, before: Catalog, after: Catalog) -> list[Rollout]:
        """Another cloud file is in force: those that are over, of models that it says something new about."""
        over = [one for one in self._rollouts.values() if not in_force.stands(one, before, after)]
        for rollout in over:
            del self._rollouts[rollout.model]
        return over

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
            self._rollouts[pair.model] = msgspec.structs.replace(rollout, agreement=grown)

    def turn(self, seen: Round, now_us: int) -> list[tuple[str, Rollout]]:
        """Judge each; those of which something is to be served differently now, and what was done."""
        self._count(seen.catalog)
        moved = []
        for name, rollout in list(self._rollouts.items()):
            if not rollout.under_way:
                if policy.settled(rollout, now_us):
                    self._rollouts[name] = policy.settle(rollout)
                    moved.append(("settled", self._rollouts[name]))
                continue
            after = self._look(rollout, seen, now_us)
            after = self._make_way(after, seen, now_us)
            self._rollouts[name] = after
            if (after.phase, after.share, after.leave) != (rollout.phase, rollout.share, rollout.leave):
                moved.append(("step" if after.under_way else after.phase, after))
        return moved

    def _look(self, rollout: Rollout, seen: Round, now_us: int) -> Rollout:
        model = rollout.spec
        patience_us = max(2 * model.scaling.start_timeout_us, PATIENCE_US)
        there = _there(seen, rollout.model, rollout.candidate)
        ready = sum(replica.phase == "ready" for replica in there)
        coming = ready < len(there) or not _held(seen, model.key)
        short = model.owned and (
            _halved(there, seen.stands(model.key)) or ready < min(policy.needed(rollout), model.scaling.max_replicas)
        )
        found = Seen(
            ready=bool(ready) or not model.owned,
            fault=seen.fault(model),
            short=short and coming and now_us - rollout.changed_us < patience_us,
            old=self._tallies.pop((rollout.model, rollout.stable), Tally()),
            new=self._tallies.pop((rollout.model, rollout.candidate), Tally()),
            patience_us=patience_us,
        )
        gives = len(_there(seen, rollout.model, rollout.stable)) > policy.left(rollout)
        lacks = policy.lacks(rollout, ready, more=coming or gives)
        return policy.look(self._calmed(rollout, now_us, lacks=lacks), found, now_us)

    def _calmed(self, rollout: Rollout, now_us: int, *, lacks: bool) -> Rollout:
        """While it has fewer replicas than its share needs, and for its backlog after that, its pace tells nothing."""
        if not lacks:
            self._short_us.pop(rollout.model, None)
            return rollout
        since_us = self._short_us.setdefault(rollout.model, now_us)
        return msgspec.structs.replace(rollout, calm_us=now_us + 1 + policy.BACKLOG * (now_us - since_us))

    def _make_way(self, rollout: Rollout, seen: Round, now_us: int) -> Rollout:
        """Where no device has room for the candidate, the stable version leaves it one replica's place, or its own.

        Later, all that the stable one's share does not need.
        """
        held, there = _held(seen, rollout.spec.key), _there(seen, rollout.model, rollout.candidate)
        mine = _there(seen, rollout.model, rollout.stable)
        begins = rollout.phase == "warming" and not there and not rollout.leave
        goes_on = policy.lacks(rollout, len(there), more=True) and len(mine) > policy.left(rollout)
        if not held or not (begins or goes_on):
            self._cramped.pop(rollout.model, None)
            return rollout
        if now_us - self._cramped.setdefault(rollout.model, now_us) < CRAMPED_US or rollout.shadow:
            return rollout
        if not begins:
            return policy.giving(rollout, len(mine), held)
        rows = self._served(rollout.model, rollout.stable, now_us)
        served = tallying.total(rows, msgspec.structs.replace(rollout, alone=True), seen.catalog)
        return policy.without_room(rollout, len(mine), served, held, now_us)

    def _served(self, model: str, version: str, now_us: int) -> list[Usage]:
        """What a version's last requests came to."""
        since_us = now_us - BASELINE_US
        return [row for row in self._last(model) if row.version == version and row.arrived_us >= since_us]

    def _count(self, catalog: Catalog) -> None:
        rows, self._rows = self._rows, []
        for row in rows:
            rollout = self._rollouts.get(row.model)
            if rollout is not None and row.arrived_us >= rollout.changed_us:
                place = (row.model, row.version)
                self._tallies[place] = self._tallies[place].plus(tallying.tally(row, rollout, catalog))


def _held(seen: Round, key: str) -> str:
    """Why no more replicas of a version can be started, empty when they can."""
    return next((hold.reason for hold in seen.holds if hold.model == key), "")


def _there(seen: Round, model: str, version: str) -> list[Replica]:
    """Replicas of a version that are there or on their way."""
    return [replica for replica in seen.fleet.of(f"{model}@{version}") if replica.phase in _THERE]


def _halved(there: list[Replica], stands: tuple[str, ...]) -> bool:
    """Whether a version that is divided between two pools has none ready on one of them, and one on its way there."""
    ready = {replica.pool for replica in there if replica.phase == "ready"}
    return len(stands) > 1 and any(one.pool in stands and one.pool not in ready for one in there)


def _asked(rollout: Rollout) -> str:
    """Why an administrator's word was followed, with what is known of the answers."""
    told = f"; {agreement.found(rollout.agreement)}" if rollout.shadow else ""
    return f"an administrator asked for it{told}"


def _refused(message: str, status: int) -> Invalid:
    return Invalid(message, code="not_found" if status == 404 else "conflict", status=status)
