"""Which pool a model's replicas stand on: the one that costs least for the requests it really gets, at its objective.

For models that may live in several pools. From the lengths of their prompts and answers, how fast each pool is (from
the table of accelerators, then as measured) and the work that arrived over the last hour follows what all replicas on
one pool would cost. The choice is made anew as traffic drifts; what moving costs has to be saved twice within an hour,
so noise moves nothing. Both the loop and the twin ask this object; it is told all moments.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from headrace.policy import capacity, lengths
from headrace.policy.lengths import TYPICAL, Lengths, Mix
from headrace.policy.performance import Performance
from headrace.policy.sizing import BOOT_US, CALM_US, ByWork, kept
from headrace.specs.catalog import Catalog, ModelSpec, PoolSpec
from headrace.state.demand import Demand
from headrace.state.fleet import Fleet
from headrace.state.work import WorkRate
from headrace.units import US_PER_HOUR, US_PER_MINUTE, US_PER_S

LOOK_US: Final = 10 * US_PER_S  # between two looks at a model
HORIZON_US: Final = US_PER_HOUR  # whose work is compared, and within which a move pays for itself
STARTS: Final = 5  # so many starts pass between two moves, and before the first, within these
SETTLED_MIN_US: Final = US_PER_MINUTE
SETTLED_MAX_US: Final = 10 * US_PER_MINUTE
PAYS: Final = 2.0  # times what a move costs must be saved
BETTER: Final = 0.05  # of what is paid now, at least
LINGER_US: Final = 60 * US_PER_S  # for which those that move away are paid beside their successors, after the start
REQUESTS_MIN: Final = 30  # before their lengths are believed
RETELL: Final = 1.1  # times longer or shorter, or slower or faster, before work is told anew

Speed = Callable[[ModelSpec, PoolSpec], Performance | None]


@dataclass(frozen=True, slots=True)
class Option:
    """All replicas on one pool: how many and what they cost an hour, in the mean over the time that is compared.

    `able` is requests an hour of one replica. `nanousd` is None where it cannot be, and `why` says why.
    """

    pool: str
    able: float
    replicas: float = 0.0
    nanousd: float | None = None
    why: str = ""

    def told(self) -> str:
        """In words."""
        if self.nanousd is None:
            return f"{self.pool} cannot: {self.why}"
        return f"{self.pool} ${self.nanousd / 1e9:.4f} an hour ({self.replicas:.2f} replicas)"


@dataclass(frozen=True, slots=True)
class Home:
    """Where a model lives: its pools, the chosen one first; what a replica of each does, in replicas of the first."""

    pools: tuple[str, ...]
    able: Mapping[str, float]
    reason: str


@dataclass(slots=True)
class _Known:
    """What is remembered of one model: what lengths it is asked for, how much work, and where it stands since when."""

    lengths: Lengths
    asked: deque[float] = field(default_factory=lambda: deque(maxlen=HORIZON_US // LOOK_US))  # requests an hour
    looked_us: int = -LOOK_US
    moved_us: int = 0
    home: Home | None = None
    options: tuple[Option, ...] = ()
    rate: WorkRate | None = None
    rated: Mix = TYPICAL
    able: float = 0.0  # requests an hour of the replica that work is told in, when the rate was told
    full: float = 0.0  # the same by the rate that is told, of requests as they are now
    lives: str = ""  # the pool that the rate's `home` is of


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

    def options(self, key: str) -> tuple[Option, ...]:
        """What each pool would cost, as last looked at; empty where there is no choice."""
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
                sizing.able.pop(model.key, None)
                models.append(model)
                continue
            known = self._known.setdefault(model.key, _Known(Lengths(now_us), moved_us=now_us - SETTLED_MAX_US))
            changed = known.home is not None and set(known.home.pools) != set(model.pools)
            if changed or now_us - known.looked_us >= LOOK_US:
                self._look(model, pools, known, demand.get(model.key), fleet, sizing, now_us)
            home = known.home
            models.append(model if home is None else msgspec.structs.replace(model, pools=home.pools))
        there = {model.key for model in models}
        self._known = {key: known for key, known in self._known.items() if key in there}
        return msgspec.structs.replace(catalog, models=tuple(models))

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
        mix = known.lengths.mix()
        speeds = [(pool, found) for pool in pools if (found := self._speed(model, pool)) is not None]
        if len(speeds) < 2:
            known.home, known.options, known.rate = None, (), None
            sizing.able.pop(model.key, None)
            return
        serves = [lengths.serves(model, speed, mix) for _, speed in speeds]
        reference = serves[0][0]
        steady = sizing.steady(model.key)
        if steady > 0 or known.asked:
            known.asked.append(steady * (known.full or reference))
        self.retold |= _retell(model, speeds[0][1], mix, known, reference)
        known.full = _full(known.rate, mix) or reference
        boot_us = sizing.boot_us.get(model.key, BOOT_US)
        calm = max(CALM_US, boot_us) // LOOK_US
        known.options = tuple(
            option(model, pool, able, mix, known.asked or (0.0,), calm)
            for (pool, _), able in zip(speeds, serves, strict=True)
        )
        stands = known.home.pools[0] if known.home is not None else _most(model, fleet)
        chosen, why = _choose(model, known, stands, boot_us, empty=not _there(model, fleet), now_us=now_us)
        if stands and chosen.pool != stands:
            known.moved_us = now_us
            self.moves[model.key] = why
        known.home = _home(model, known.options, chosen, why)
        self.retold |= _rehomed(model, {pool.name: speed for pool, speed in speeds}, known, chosen.pool)
        sizing.able[model.key] = chosen.able / known.full


def candidates(model: ModelSpec, catalog: Catalog) -> list[PoolSpec]:
    """The pools a model may be moved between; empty where it has no choice: spot has rules of its own (`spot`)."""
    if not model.owned or model.task != "chat" or not model.by_cost or len(model.pools) < 2:
        return []
    pools = [pool for name in model.pools if (pool := catalog.pool(name)) is not None]
    if any(pool.interruptible or pool.price_nanousd_per_hour is None for pool in pools):
        return []
    return pools


def option(
    model: ModelSpec, pool: PoolSpec, serves: tuple[float, bool], mix: Mix, asked_per_hour: Sequence[float], calm: int
) -> Option:
    """All replicas of a model on one pool; who was one too many goes after `calm` looks.

    Formula: mean over looks of the whole replicas that `sizing.kept` has for asked / able, times p; able and
        whether promises are kept as `lengths.serves` says.
    Units: asked and able requests an hour; p nano-dollars a replica an hour.
    Source: Melange (Griggs et al. 2024): the cheapest kind of GPU follows from lengths, rate and objective together.
    Assumes: a replica costs its part of a device, as many of them as fit on it.
    """
    able, keeps = serves
    share = capacity.part(model, pool)
    if not share:
        return Option(pool.name, able, why="a replica needs more memory than one of its devices has")
    if not keeps:
        size = f"{mix.input_tokens} tokens in (up to {mix.longest_tokens}) and {mix.output_tokens} out"
        return Option(pool.name, able, why=f"it cannot keep its promises for {size}")
    counts = kept([asked / able for asked in asked_per_hour], max(1, model.scaling.min_replicas), calm)
    most = min(model.scaling.max_replicas, pool.count * (1 / share).__floor__())
    replicas = sum(counts) / len(counts)
    if replicas > most:
        return Option(pool.name, able, replicas, why=f"it takes {replicas:.1f} replicas and may have {most}")
    assert pool.price_nanousd_per_hour is not None, "candidates have prices"
    return Option(pool.name, able, replicas, replicas * float(share) * pool.price_nanousd_per_hour)


def _rehomed(model: ModelSpec, speeds: Mapping[str, Performance], known: _Known, home: str) -> bool:
    """Whether it is told anew what a replica makes of requests where the model lives: that is not where their work is
    told in, and it has moved there, or their work was told anew.
    """
    if known.rate is None:
        return False
    abroad = home != next(iter(speeds))
    if known.lives == home and abroad == (known.rate.home is not None):
        return False
    there = lengths.rate(model, speeds[home], known.rated) if abroad else None
    known.lives, known.rate = home, msgspec.structs.replace(known.rate, home=there)
    return True


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
    model: ModelSpec, known: _Known, stands: str, boot_us: int, *, empty: bool, now_us: int
) -> tuple[Option, str]:
    """Where to be, and why: where it stands, unless another pool is so much cheaper that moving pays."""
    options = known.options
    here = next((one for one in options if one.pool == stands), None)
    fit = [one for one in options if one.nanousd is not None]
    best = min(fit, key=lambda one: one.nanousd or 0.0, default=None)
    beside = "; ".join(one.told() for one in options if one is not (best if here is None else here))
    if best is None:  # nobody keeps the promises: the one that does most
        most = here or max(options, key=lambda one: one.able)
        return most, f"on {most.pool}, though {most.why}; {beside}"
    if here is None:
        return best, f"on {best.told()}; {beside}"
    stay = here, f"on {here.told()}; {beside}"
    settled_us = min(max(SETTLED_MIN_US, STARTS * boot_us), SETTLED_MAX_US)
    calm = empty or (known.lengths.requests >= REQUESTS_MIN and now_us - known.moved_us >= settled_us)
    if here.nanousd is None:
        return (best, f"moves to {best.told()}: {here.told()}") if calm else stay
    assert best.nanousd is not None, "it fits"
    saved = here.nanousd - best.nanousd
    if best is here or saved < BETTER * here.nanousd:
        return stay
    moved = boot_us * best.nanousd / US_PER_HOUR + min(LINGER_US, model.scaling.drain_us) * here.nanousd / US_PER_HOUR
    moved *= not empty
    calm &= empty or len(known.asked) * LOOK_US >= settled_us
    if calm and saved * HORIZON_US / US_PER_HOUR >= PAYS * moved:
        return best, (
            f"moves from {here.told()} to {best.told()}: saves ${saved / 1e9:.4f} an hour, moving costs "
            f"${moved / 1e9:.4f}"
        )
    return stay


def _home(model: ModelSpec, options: tuple[Option, ...], chosen: Option, why: str) -> Home:
    """The chosen pool, then those that keep the promises, the cheapest first, then the others as the file has them."""
    fit = sorted((one for one in options if one.nanousd is not None), key=lambda one: one.nanousd or 0.0)
    ordered = dict.fromkeys([chosen.pool, *(one.pool for one in fit), *model.pools])
    able = {one.pool: one.able / chosen.able for one in options}
    return Home(tuple(ordered), able, why)


def _there(model: ModelSpec, fleet: Fleet) -> bool:
    return any(replica.key == model.key and replica.phase != "failed" for replica in fleet.replicas)


def _most(model: ModelSpec, fleet: Fleet) -> str:
    """The pool with most of a model's replicas: where an earlier controller chose to have them; empty for none."""
    counts: dict[str, int] = {}
    for replica in fleet.replicas:
        there = replica.phase in ("pending", "starting", "ready") and replica.pool in model.pools
        if replica.key == model.key and there:
            counts[replica.pool] = counts.get(replica.pool, 0) + 1
    return max(sorted(counts), key=lambda pool: counts[pool], default="")
