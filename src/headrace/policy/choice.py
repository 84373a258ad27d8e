"""Which pool a model's replicas stand on, or which two: what costs least for the requests it gets, at its objective.

For models that may live in several pools. From the lengths of their prompts and answers, how fast each pool is (from
the table of accelerators, then as measured) and the work that arrived over the last hour follows what all replicas on
one pool would cost (`options`), and what two would that divide them by length (`cuts`). The choice is made anew as
traffic drifts; what moving costs has to be saved twice within an hour, so noise moves nothing. Both the loop and the
twin ask this object; it is told all moments.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from typing import Final

import msgspec

from headrace.policy import cuts, standing
from headrace.policy.cuts import Cut
from headrace.policy.home import Home
from headrace.policy.known import HORIZON_US, LOOK_US, REQUESTS_MIN, Known
from headrace.policy.lengths import Lengths
from headrace.policy.options import Option, candidates
from headrace.policy.performance import Performance
from headrace.policy.sizing import BOOT_US, ByWork
from headrace.specs.catalog import Catalog, ModelSpec, PoolSpec
from headrace.state.demand import LONG, SHORT, Demand, part_key, parts
from headrace.state.divided import Divided
from headrace.state.fleet import Fleet
from headrace.state.table import RouteCut
from headrace.state.work import WorkRate
from headrace.units import US_PER_HOUR, US_PER_MINUTE, US_PER_S

STARTS: Final = 5  # so many starts pass between two moves, and before the first, within these
SETTLED_MIN_US: Final = US_PER_MINUTE
SETTLED_MAX_US: Final = 10 * US_PER_MINUTE
PAYS: Final = 2.0  # times what a move costs must be saved
AGAIN: Final = 3.0  # times that much, where it stood less than an hour ago: what hardly differs is not taken in turns
LINGER_US: Final = 60 * US_PER_S  # for which those that move away are paid beside their successors, after the start

Speed = Callable[[ModelSpec, PoolSpec], Performance | None]


class Choices:
    """The homes of every model that has a choice. `speed` tells how a model runs in a pool."""

    def __init__(self, speed: Speed) -> None:
        self._speed = speed
        self._known: dict[str, Known] = {}
        self.moves: dict[str, str] = {}  # models whose home has just changed, and why
        self.retold = False  # whether the work of a request has just become another

    @property
    def homes(self) -> dict[str, Home]:
        """By `name@version`."""
        return {key: known.home for key, known in self._known.items() if known.home is not None}

    @property
    def rates(self) -> dict[str, WorkRate]:
        """The work of a request of those models as they are asked now, in time of the first pool of known speed."""
        return {key: known.rate for key, known in self._known.items() if known.rate is not None}

    @property
    def cuts(self) -> dict[str, RouteCut]:
        """Where requests are cut by length, of models that stand in two pools for that."""
        return {key: home.cut for key, home in self.homes.items() if home.cut is not None}

    @property
    def divided(self) -> dict[str, Divided]:
        """Those models, for a successor to go on with."""
        return {
            key: Divided(pools=home.pools, able=dict(home.able), parts=dict(known.parts), cut=home.cut, rate=known.rate)
            for key, known in self._known.items()
            if (home := known.home) is not None and home.cut is not None and known.rate is not None
        }

    def recall(self, divided: Mapping[str, Divided], now_us: int) -> None:
        """Go on with models that an earlier controller had divided: they stay so until enough is known to choose."""
        for key, left in divided.items():
            self._known[key] = Known.divided(left, "as it was divided before this controller began", now_us)

    def parted(self, demand: Mapping[str, Demand]) -> dict[str, Demand]:
        """The demand, and beside it that of both parts of those models."""
        found = dict(demand)
        for key in self.cuts:
            if key in demand:
                found |= {part.of: part for part in parts(demand[key])}
        return found

    def stands(self, key: str) -> tuple[str, ...]:
        """The pools where replicas of a model version are wanted; none where there is no choice."""
        known = self._known.get(key)
        return known.home.stands if known is not None and known.home is not None else ()

    def options(self, key: str) -> tuple[Option | Cut, ...]:
        """What each pool would cost, and the best pair of them, as last looked at; empty where there is no choice."""
        known = self._known.get(key)
        return known.options if known is not None and known.home is not None else ()

    def over(
        self,
        catalog: Catalog,
        demand: Mapping[str, Demand],
        fleet: Fleet,
        sizing: ByWork,
        now_us: int,
        trying: Container[str] = (),
    ) -> Catalog:
        """The catalog with the chosen pool of each model first; `sizing` is told what a replica there does.

        `trying` are names of models with a rollout under way, whose versions move only where they could not keep their
        promises: else it would compare GPUs.
        """
        self.moves, self.retold = {}, False
        models: list[ModelSpec] = []
        for model in catalog.models:
            pools = candidates(model, catalog)
            if not pools:
                self._known.pop(model.key, None)
                _untold(model, sizing)
                models.append(model)
                continue
            known = self._known.get(model.key)
            if known is None:
                known = self._known[model.key] = Known(Lengths(now_us), moved_us=now_us - SETTLED_MAX_US)
            changed = known.home is not None and set(known.home.pools) != set(model.pools)
            if changed or now_us - known.looked_us >= LOOK_US:
                if not known.lengths.requests:
                    self._begin(model, catalog, fleet, now_us)
                    known = self._known[model.key]
                known.compare(model, now_us, under_way=model.name in trying)
                self._look(model, pools, known, demand.get(model.key), fleet, sizing, now_us)
            home = known.home
            models.append(model if home is None else msgspec.structs.replace(model, pools=home.pools))
        there = {model.key for model in models}
        self._known = {key: known for key, known in self._known.items() if key in there}
        return msgspec.structs.replace(catalog, models=tuple(models))

    def _begin(self, model: ModelSpec, catalog: Catalog, fleet: Fleet, now_us: int) -> None:
        """A version that nobody has asked yet lives as the one does that it is compared with: the same GPU, else the
        difference would be that of the GPUs. Where that one is divided, it is divided at the same border.
        """
        others = (one for one in catalog.models if one.name == model.name and one.key != model.key)
        like = max(others, key=lambda one: one.weight, default=None)
        known = self._known.get(like.key) if like is not None else None
        if like is None or known is None or known.home is None or standing.anywhere(model, fleet):
            return
        home = known.home
        if set(home.pools) != set(model.pools) or like.key not in known.parts:
            return
        if (left := self.divided.get(like.key)) is not None:
            names = {part_key(like.key, part): part_key(model.key, part) for part in ("", SHORT, LONG)}
            able = {names[key]: each for key, each in left.parts.items()}
            left = msgspec.structs.replace(left, parts=able)
            reason = f"divided as {like.key} is, until it was asked enough to choose"
            self._known[model.key], self.retold = (
                Known.divided(left, reason, now_us, standing.split(like, home.stands, fleet)),
                True,
            )
        elif home.cut is None:
            (first,), mine = home.stands, self._known[model.key]
            mine.home = Home(
                home.pools, home.able, f"on {first}, as {like.key} is, until it was asked enough to choose"
            )
            mine.parts, mine.alike = {model.key: known.parts[like.key]}, True

    def _look(
        self,
        model: ModelSpec,
        pools: list[PoolSpec],
        known: Known,
        demand: Demand | None,
        fleet: Fleet,
        sizing: ByWork,
        now_us: int,
    ) -> None:
        """Take in what was asked since the last look, and choose."""
        known.looked_us = now_us
        known.lengths.note(demand.sizes if demand is not None else {}, now_us)
        speeds = [(pool, found) for pool in pools if (found := self._speed(model, pool)) is not None]
        if known.found and standing.still(known.found, model, known.lengths, len(speeds), REQUESTS_MIN):
            sizing.able |= known.parts
            return
        known.found = None
        if known.alike and known.lengths.requests < REQUESTS_MIN and len(speeds) > 1:
            sizing.able |= known.parts
            return
        known.alike = False
        if known.compared and known.cut and not all(known.lengths.either(known.cut.upto_tokens)):
            sizing.able |= known.parts
            return  # a small share of what is asked lacks the rarer ones for a while
        if len(speeds) < 2:
            known.home, known.options, known.rate, known.cut = None, (), None, None
            _untold(model, sizing)
            return
        stands, counts = known.home.stands if known.home is not None else (), standing.counts(model, fleet)
        there = () if stands else tuple(counts)
        self.retold |= known.weigh(model, speeds, counts, sizing)
        boot_us = sizing.boot_us.get(model.key, BOOT_US)
        stands = stands or standing.supposed(known.options, there)
        few = known.lengths.requests < REQUESTS_MIN or len(known.asked) * LOOK_US < SETTLED_MIN_US * (len(stands) == 1)
        if len(there) > 1 and few:
            sizing.able[model.key] = standing.mean_able(known.options, there) / known.full
            return  # on several pools, and nobody knows yet why: it stays so until that is seen
        chosen, why = _choose(model, known, stands, boot_us, empty=not standing.anywhere(model, fleet), now_us=now_us)
        border = known.cut.upto_tokens if known.cut is not None else 0
        if stands and (chosen.pools != stands or (known.home is not None and chosen.border != border)):
            known.left = {**known.left, stands: now_us} if chosen.pools != stands else known.left
            known.moved_us, known.split = now_us, (1, 0)
            self.moves[model.key] = why
        by_pool = {pool.name: speed for pool, speed in speeds}
        lived = known.lives
        self.retold |= known.settle(model, by_pool, chosen)
        known.home = replace(Home.of(model, known.options, chosen, known.cut, why), split=known.split)
        if known.lives != lived:
            shares = chosen.shares if isinstance(chosen, Cut) else ()
            keys = [part_key(model.key, part) for part in (SHORT, LONG)]
            for key in keys:
                sizing.able.pop(key, None)
            sizing.divide(model.key, dict(zip(keys, shares, strict=False)), now_us)
        known.parts = known.ables(model, chosen)
        sizing.able |= known.parts


def _untold(model: ModelSpec, sizing: ByWork) -> None:
    """Sizing is told nothing of a model any more."""
    for part in ("", SHORT, LONG):
        sizing.able.pop(part_key(model.key, part), None)
    sizing.divide(model.key, {}, 0)


def _choose(
    model: ModelSpec, known: Known, stands: tuple[str, ...], boot_us: int, *, empty: bool, now_us: int
) -> tuple[Option | Cut, str]:
    """Where to be, and why: where it stands, unless something else is so much cheaper that moving pays."""
    options = known.options
    here = next((one for one in reversed(options) if one.pools == stands), None)
    fit = [one for one in options if one.nanousd is not None]
    best = min(fit, key=cuts.cost, default=None)
    beside = "; ".join(one.told() for one in options if one is not (best if here is None else here))
    if best is None:  # nobody keeps the promises: the one that does most
        most = here or max((one for one in options if isinstance(one, Option)), key=lambda one: one.able)
        return most, f"on {' and '.join(most.pools)}, though {most.why}; {beside}"
    if here is None:
        return best, f"on {best.told()}; {beside}"
    stay = here, f"on {here.told()}; {beside}"
    settled_us = min(max(SETTLED_MIN_US, STARTS * boot_us), SETTLED_MAX_US)
    calm = empty or (known.lengths.requests >= REQUESTS_MIN and now_us - known.moved_us >= settled_us)
    calm &= empty or len(known.asked) * LOOK_US >= SETTLED_MIN_US
    if here.nanousd is None:
        return (best, f"moves to {best.told()}: {here.told()}") if calm else stay
    if known.compared or now_us < known.rests_us:
        return stay
    again = now_us - known.left.get(best.pools, -HORIZON_US) < HORIZON_US
    if best is here or not cuts.better(best, here, AGAIN if again else 1.0):
        return stay
    before, after = here.costs(), best.costs()
    new = sum(max(0.0, cost - before.get(pool, 0.0)) for pool, cost in after.items())
    gone = sum(max(0.0, cost - after.get(pool, 0.0)) for pool, cost in before.items())
    moved = (boot_us * new + min(LINGER_US, model.scaling.drain_us) * gone) / US_PER_HOUR
    moved *= not empty
    calm &= empty or len(known.asked) * LOOK_US >= settled_us
    saved = here.nanousd - cuts.cost(best)
    if calm and saved * HORIZON_US / US_PER_HOUR >= PAYS * moved:
        return best, (
            f"moves from {here.told()} to {best.told()}: saves ${saved / 1e9:.4f} an hour, moving costs "
            f"${moved / 1e9:.4f}"
        )
    return stay
