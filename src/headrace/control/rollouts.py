"""New versions on their way: what `policy.rollouts` says, kept so that the next controller goes on, and told.

Counters are kept with each step and at least every two seconds: a controller that dies loses two seconds of evidence,
never a step.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from headrace import telemetry
from headrace.control.catalogs import ROLLOUTS
from headrace.control.records import Records
from headrace.errors import Transient
from headrace.policy import rollout as policy
from headrace.policy import rollouts
from headrace.policy.rollouts import BASELINE, USUAL, How, Round
from headrace.ports import Clock, Store
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.likeness import Likeness
from headrace.state.rollout import Rollout
from headrace.state.usage import Usage
from headrace.units import US_PER_S

KEEP_US: Final = 2 * US_PER_S
_NAME: Final = ROLLOUTS


class Rollouts:
    """The rollouts of one cloud, one a model: the one under way, or the last one while it is in force."""

    def __init__(self, store: Store, records: Records, clock: Clock) -> None:
        self._store = store
        self._records = records
        self._clock = clock
        kept = store.get(_NAME)
        self._kept = {} if kept is None else msgspec.json.decode(kept, type=dict[str, Rollout])
        self._rollouts = rollouts.Rollouts(self._last, self._kept)
        self._kept_us = 0

    @property
    def all(self) -> Mapping[str, Rollout]:
        """By model name."""
        return self._rollouts.all

    def under_way(self) -> frozenset[str]:
        """Models of which one is not decided yet."""
        return self._rollouts.under_way

    def took_back(self, model: ModelSpec) -> bool:
        """Whether this version was rolled back, and nothing has been said of it since."""
        rollout = self._rollouts.all.get(model.name)
        return rollout is not None and rollout.phase == "rolled_back" and rollout.candidate == model.version

    def _last(self, model: str) -> list[Usage]:
        """What a model's last requests came to."""
        return self._store.usage_list(limit=BASELINE, model=model)

    # --- what administrators do ---------------------------------------------------------------------------------

    def deploy(self, declared: Catalog, candidate: ModelSpec, how: How = USUAL) -> Rollout:
        """Begin, as `policy.rollouts.Rollouts.begun` takes it. Raises Invalid."""
        rollout = self._rollouts.begun(declared, candidate, self._clock.now_us(), how)
        return self._put(rollout, "shadow" if rollout.shadow else "deploy")

    def promote(self, name: str) -> Rollout:
        """All traffic to the candidate. Raises Invalid."""
        return self._put(self._rollouts.promoted(name, self._clock.now_us()), "promote")

    def rollback(self, name: str) -> Rollout:
        """All traffic back to the versions before. Raises Invalid."""
        return self._put(self._rollouts.taken_back(name, self._clock.now_us()), "rollback")

    def applied(self, before: Catalog, after: Catalog) -> None:
        """Another cloud file is in force: rollouts of models that it says something new about are over."""
        for rollout in self._rollouts.applied(before, after):
            key = f"{rollout.model}@{rollout.candidate}"
            self._records.decide("rollout.over", key, "the cloud file says otherwise now")
        self._keep()

    # --- what is seen -------------------------------------------------------------------------------------------

    def heard(self, row: Usage) -> None:
        """A request ended."""
        self._rollouts.heard(row)

    def compared(self, pair: Likeness) -> None:
        """A copy of a request was answered by a version that is only watched."""
        self._rollouts.compared(pair)

    def turn(self, seen: Round) -> bool:
        """Judge each; whether anything is to be served differently now."""
        now_us = self._clock.now_us()
        moved = self._rollouts.turn(seen, now_us)
        for what, rollout in moved:
            self._told(what, rollout)
        if moved or now_us - self._kept_us >= KEEP_US:
            self._keep()
        return bool(moved)

    # --- how it is kept -----------------------------------------------------------------------------------------

    def _put(self, rollout: Rollout, what: str) -> Rollout:
        """What an administrator asked for is kept before it is in force. Raises Transient when it cannot be."""
        self._store.put(_NAME, msgspec.json.encode({**self.all, rollout.model: rollout}))
        self._rollouts.take(rollout)
        self._kept = dict(self.all)
        self._told(what, rollout)
        return rollout

    def _keep(self) -> None:
        """Keep what has changed; a disk that is full stops no step, and is tried again."""
        self._kept_us = self._clock.now_us()
        if self._kept == self.all:
            return
        try:
            self._store.put(_NAME, msgspec.json.encode(self.all))
            self._kept = dict(self.all)
        except Transient as error:
            telemetry.logger().error("rollouts.waiting", reason=error.message)

    def _told(self, what: str, rollout: Rollout) -> None:
        key, reason = f"{rollout.model}@{rollout.candidate}", policy.told(rollout, self._clock.now_us())
        self._records.decide(f"rollout.{what}", key, reason, stable=rollout.stable, share=rollout.share)
