"""Which pool a model's replicas stand on, or which two: what costs least for the requests it gets, at its objective.

For models that may live in several pools. From the lengths of their prompts and answers, how fast each pool is (from
the table of accelerators, then as measured) and the work that arrived over the last hour follows what all replicas on
one pool would cost (`options`), and what two would that divide them by length (`cuts`). The choice is made anew as
traffic drifts; what moving costs has to be saved twice within an hour, so noise moves nothing. Both the loop and the
twin ask this object; it is told all moments.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final

import msgspec

from headrace.policy import cuts, lengths, standing
from headrace.policy.cuts import Cut
from headrace.policy.lengths import TYPICAL, Lengths, Mix
from headrace.policy.options import Asked, Option, candidates, option
from headrace.policy.performance import Performance
from headrace.policy.sizing import BOOT_US, CALM_US, ByWork
from headrace.specs.catalog import Catalog, ModelSpec, PoolSpec
from headrace.state.demand import LONG, SHORT, Demand, part_key, parts
from headrace.state.divided import Divided
from headrace.state.fleet import Fleet
from headrace.state.table import RouteCut
from headrace.state.work import WorkRate
from headrace.units import US_PER_HOUR, US_PER_MINUTE, US_PER_S

LOOK_US: Final = 10 * US_PER_S  # between two looks at a model
HORIZON_US: Final = US_PER_HOUR  # whose work is compared, and within which a move pays for itself
STARTS: Final = 5  # so many starts pass between two moves, and before the first, within these
SETTLED_MIN_US: Final = US_PER_MINUTE
SETTLED_MAX_US: Final = 10 * US_PER_MINUTE
PAYS: Final = 2.0  # times what a move costs must be saved
BETTER: Final = 0.05  # of what is paid now, at least
AGAIN: Final = 3.0  # times that much, where it stood less than an hour ago: what hardly differs is not taken in turns
LINGER_US: Final = 60 * US_PER_S  # for which those that move away are paid beside their successors, after the start
REQUESTS_MIN: Final = 30  # before their lengths are believed
RETELL: Final = 1.1  # times longer or shorter, or slower or faster, before work is told anew

Speed = Callable[[ModelSpec, PoolSpec], Performance | None]


@dataclass(frozen=True, slots=True)
class Home:
    """Where a model lives: its pools, the chosen one first; what a replica of each does, in replicas of the first.

    With a `cut` the first two are chosen, for prompts up to it and beyond.
    """

    pools: tuple[str, ...]
    able: Mapping[str, float]
    reason: str
    cut: RouteCut | None = None

    @property
    def stands(self) -> tuple[str, ...]:
        """The pools where replicas are wanted."""
        return self.pools[: 1 if self.cut is None else 2]


@dataclass(slots=True)
class _Known:
    """What is remembered of one model: what lengths it is asked for, how much work, and where it stands since when."""

    lengths: Lengths
    asked: deque[float] = field(default_factory=lambda: deque(maxlen=HORIZON_US // LOOK_US))  # requests an hour
    looked_us: int = -LOOK_US
    moved_us: int = 0
    home: Home | None = None
    options: tuple[Option | Cut, ...] = ()
    rate: WorkRate | None = None
    rated: Mix = TYPICAL
    able: float = 0.0  # requests an hour of the replica that work is told in, when the rate was told
    full: float = 0.0  # the same by the rate that is told, of requests as they are now
    lives: tuple[object, ...] = ()  # the pool, or pools and border, that work where it is done is told of
    cut: RouteCut | None = None
    left: dict[tuple[str, ...], int] = field(default_factory=dict)  # where it stood before, and when it went
    found: Divided | None = None  # as an earlier controller left it, until enough is known to judge that
    alike: bool = False  # it lives as another version does, until it was asked enough
    parts: Mapping[str, float] = field(default_factory=dict)  # what sizing was told that a replica does


class Choices:
    """The homes of every model that has a choice. `speed` tells how a model runs in a pool."""

    def __init__(self, speed: Speed) -> None:
        self._speed = speed
        self._known: dict[str, _Known] = {}
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
            home = Home(left.pools, left.able, "as it was divided before this controller began", left.cut)
            self._known[key] = _Known(
                Lengths(now_us),
                moved_us=now_us,
                home=home,
                rate=left.rate,
                cut=left.cut,
                lives=(*left.pools[:2], left.cut.upto_tokens),
                found=left,
                parts=left.parts,
            )

    def parted(self, demand: Mapping[str, Demand]) -> dict[str, Demand]:
        """The demand, and beside it that of both parts of those models."""
        found = dict(demand)
        for key in self.cuts:
            if key in demand:
                found |= {part.of: part for part in parts(demand[key])}
        return found

    def options(self, key: str) -> tuple[Option | Cut, ...]:
        """What each pool would cost, and the best pair of them, as last looked at; empty where there is no choice."""
        known = self._known.get(key)
        return known.options if known is not None and known.home is not None else ()

    def over(
        self, catalog: Catalog, demand: Mapping[str, Demand], fleet: Fleet, sizing: ByWork, now_us: int
    ) -> Catalog:
        """The catalog with the chosen pool of each model first; `sizing` is told what a replica there does."""
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
                known = self._known[model.key] = _Known(Lengths(now_us), moved_us=now_us - SETTLED_MAX_US)
            changed = known.home is not None and set(known.home.pools) != set(model.pools)
            if changed or now_us - known.looked_us >= LOOK_US:
                if not known.lengths.requests:
                    self._begin(model, catalog, fleet)
                self._look(model, pools, known, demand.get(model.key), fleet, sizing, now_us)
            home = known.home
            models.append(model if home is None else msgspec.structs.replace(model, pools=home.pools))
        there = {model.key for model in models}
        self._known = {key: known for key, known in self._known.items() if key in there}
        return msgspec.structs.replace(catalog, models=tuple(models))

    def _begin(self, model: ModelSpec, catalog: Catalog, fleet: Fleet) -> None:
        """A version that nobody has asked yet lives as the one does that it is compared with: the same GPU, else the
        difference would be that of the GPUs. Where that one is divided, on the pool that serves long prompts too.
        """
        others = (one for one in catalog.models if one.name == model.name and one.key != model.key)
        like = max(others, key=lambda one: one.weight, default=None)
        known = self._known.get(like.key) if like is not None else None
        if like is None or known is None or known.home is None or standing.anywhere(model, fleet):
            return
        home = known.home
        if set(home.pools) != set(model.pools) or like.key not in known.parts:
            return
        first = home.pools[len(home.stands) - 1]
        pools = tuple(dict.fromkeys([first, *home.pools]))
        able = {pool: each / home.able[first] for pool, each in home.able.items()}
        mine = self._known[model.key]
        mine.home = Home(pools, able, f"on {first}, as {like.key} is, until it was asked enough to choose")
        mine.parts, mine.alike = {model.key: known.parts[like.key] * home.able[first]}, True

    def _look(
        self,
        model: ModelSpec,
        pools: list[PoolSpec],
        known: _Known,
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
        if len(speeds) < 2:
            known.home, known.options, known.rate, known.cut = None, (), None, None
            _untold(model, sizing)
            return
        stands, counts = known.home.stands if known.home is not None else (), standing.counts(model, fleet)
        there = () if stands else tuple(counts)
        self.retold |= _weigh(model, speeds, known, counts, sizing)
        boot_us = sizing.boot_us.get(model.key, BOOT_US)
        stands = stands or standing.supposed(known.options, there)
        few = known.lengths.requests < REQUESTS_MIN or len(known.asked) * LOOK_US < SETTLED_MIN_US * (len(stands) == 1)
        if len(there) > 1 and few:
            sizing.able[model.key] = standing.mean_able(known.options, there) / known.full
            return  # on several pools, and nobody knows yet why: it stays so until that is seen
        chosen, why = _choose(model, known, stands, boot_us, empty=not standing.anywhere(model, fleet), now_us=now_us)
        border = known.cut.upto_tokens if known.cut is not None else 0
        if stands and (chosen.pools != stands or (known.home is not None and _border(chosen) != border)):
            known.left = {**known.left, stands: now_us} if chosen.pools != stands else known.left
            known.moved_us = now_us
            self.moves[model.key] = why
        by_pool = {pool.name: speed for pool, speed in speeds}
        lived = known.lives
        self.retold |= _rehomed(model, by_pool, known, chosen)
        known.home = _home(model, known, chosen, why)
        if known.lives != lived:
            shares = chosen.shares if isinstance(chosen, Cut) else ()
            keys = [part_key(model.key, part) for part in (SHORT, LONG)]
            for key in keys:
                sizing.able.pop(key, None)
            sizing.divide(model.key, dict(zip(keys, shares, strict=False)), now_us)
        known.parts = _ables(model, known, chosen)
        sizing.able |= known.parts


def _weigh(
    model: ModelSpec,
    speeds: list[tuple[PoolSpec, Performance]],
    known: _Known,
    counts: Mapping[str, int],
    sizing: ByWork,
) -> bool:
    """What was asked since the last look, and what each pool, and the best pair of them, would cost; whether work is
    told anew.
    """
    mix, enough = known.lengths.mix(), known.lengths.requests >= REQUESTS_MIN
    stands = known.home.stands if known.home is not None else ()
    serves = [lengths.serves(model, speed, mix) for _, speed in speeds]
    if known.rate is not None and (known.asked or (enough and sizing.steady(model.key) > 0)):
        known.asked.append(sizing.steady(model.key) * _full(known.rate, mix))
    retold = _retell(model, speeds[0][1], mix, known, serves[0][0])
    known.full = _full(known.rate, mix) or serves[0][0]
    calm = max(CALM_US, sizing.boot_us.get(model.key, BOOT_US)) // LOOK_US
    asked = Asked(known.asked or (0.0,), sizing.noise(model.key), calm)
    elsewhere = 0 if known.cut is None else None  # from a pair nothing moves to where it would just be enough
    singles = [
        option(model, pool, able, mix, asked, counts.get(pool.name, 0) if stands == (pool.name,) else elsewhere)
        for (pool, _), able in zip(speeds, serves, strict=True)
    ]
    known.options = tuple(singles)
    if known.rate is None or not enough:
        return retold
    given = cuts.Given(speeds, known.lengths, asked, known.rate.work_us)
    if not stands and len(counts) > 1:  # one of them may be where it stands
        known.options += tuple(cuts.cheapest(model, given))
        return retold
    below = min((one.nanousd for one in singles if one.nanousd is not None), default=inf)
    pairs = sorted(cuts.cheapest(model, given, below), key=_cost)[:1]
    if known.cut is not None and (here := cuts.standing(model, given, stands, known.cut.upto_tokens, counts)):
        pairs = [*(one for one in pairs if one.pools != stands or _better(one, here)), here]
    known.options += tuple(pairs)
    return retold


def _rehomed(model: ModelSpec, speeds: dict[str, Performance], known: _Known, chosen: Option | Cut) -> bool:
    """Whether it is told anew what replicas make of requests where the model lives: that is not where their work is
    told in, or their work was told anew, or they are cut by length, or cut elsewhere.
    """
    if known.rate is None:
        known.cut = None
        return False
    abroad = isinstance(chosen, Cut) or chosen.pool != next(iter(speeds))
    lives = (*chosen.pools, _border(chosen))
    if known.lives == lives and abroad == (known.rate.home is not None):
        return False
    if isinstance(chosen, Cut):
        short, long = cuts.rates(model, chosen, speeds)
        known.cut = RouteCut(upto_tokens=chosen.upto_tokens, pool=chosen.long.pool, rate=long)
    else:
        short, known.cut = lengths.rate(model, speeds[chosen.pool], known.rated) if abroad else None, None
    known.lives, known.rate = lives, msgspec.structs.replace(known.rate, home=short)
    return True


def _border(chosen: Option | Cut) -> int:
    return chosen.upto_tokens if isinstance(chosen, Cut) else 0


def _ables(model: ModelSpec, known: _Known, chosen: Option | Cut) -> dict[str, float]:
    """What a replica where the model lives does, of the one that work is told in: of the model, and of its parts."""
    single = next(one for one in known.options if isinstance(one, Option) and one.pool == chosen.pools[0])
    found = {model.key: single.able / known.full}
    if isinstance(chosen, Cut):
        for part, one, requests in zip((SHORT, LONG), (chosen.short, chosen.long), chosen.mixes, strict=True):
            found[part_key(model.key, part)] = one.able / (_full(known.rate, requests) or known.full)
    return found


def _untold(model: ModelSpec, sizing: ByWork) -> None:
    """Sizing is told nothing of a model any more."""
    for part in ("", SHORT, LONG):
        sizing.able.pop(part_key(model.key, part), None)
    sizing.divide(model.key, {}, 0)


def _retell(model: ModelSpec, performance: Performance, mix: Mix, known: _Known, able: float) -> bool:
    """Whether the work of a request is told anew: requests are of other lengths now, or the pool of another speed."""
    same = max(able, known.able) <= RETELL * min(able, known.able)
    if known.rate is not None and same and not lengths.drifted(mix, known.rated, RETELL):
        return False
    known.rate, known.rated, known.able = lengths.rate(model, performance, mix), mix, able
    return True


def _full(rate: WorkRate | None, mix: Mix) -> float:
    """Requests of the mix as it is now that fill an hour of the replica that work is told in; 0 where it is not told.

    Work is linear in tokens and was told for requests of other lengths: what it makes of these is what sizing counts.
    """
    return US_PER_HOUR / rate.work_us(mix.input_tokens, mix.output_tokens) if rate is not None else 0.0


def _choose(
    model: ModelSpec, known: _Known, stands: tuple[str, ...], boot_us: int, *, empty: bool, now_us: int
) -> tuple[Option | Cut, str]:
    """Where to be, and why: where it stands, unless something else is so much cheaper that moving pays."""
    options = known.options
    here = next((one for one in reversed(options) if one.pools == stands), None)
    fit = [one for one in options if one.nanousd is not None]
    best = min(fit, key=_cost, default=None)
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
    again = now_us - known.left.get(best.pools, -HORIZON_US) < HORIZON_US
    if best is here or not _better(best, here, AGAIN if again else 1.0):
        return stay
    before, after = here.costs(), best.costs()
    new = sum(max(0.0, cost - before.get(pool, 0.0)) for pool, cost in after.items())
    gone = sum(max(0.0, cost - after.get(pool, 0.0)) for pool, cost in before.items())
    moved = (boot_us * new + min(LINGER_US, model.scaling.drain_us) * gone) / US_PER_HOUR
    moved *= not empty
    calm &= empty or len(known.asked) * LOOK_US >= settled_us
    saved = here.nanousd - _cost(best)
    if calm and saved * HORIZON_US / US_PER_HOUR >= PAYS * moved:
        return best, (
            f"moves from {here.told()} to {best.told()}: saves ${saved / 1e9:.4f} an hour, moving costs "
            f"${moved / 1e9:.4f}"
        )
    return stay


def _cost(one: Option | Cut) -> float:
    return inf if one.nanousd is None else one.nanousd


def _better(one: Option | Cut, here: Option | Cut, times: float = 1.0) -> bool:
    """Whether it costs so much less that a change is thought of."""
    return _cost(here) - _cost(one) >= times * BETTER * _cost(here) and _cost(one) < inf


def _home(model: ModelSpec, known: _Known, chosen: Option | Cut, why: str) -> Home:
    """The chosen pools, then those that keep the promises, the cheapest first, then the others as the file has them."""
    singles = [one for one in known.options if isinstance(one, Option)]
    fit = sorted((one for one in singles if one.nanousd is not None), key=_cost)
    ordered = dict.fromkeys([*chosen.pools, *(one.pool for one in fit), *model.pools])
    first = next(one for one in singles if one.pool == chosen.pools[0])
    able = {one.pool: one.able / first.able for one in singles}
    return Home(tuple(ordered), able, why, known.cut)
