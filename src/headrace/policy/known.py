"""What is remembered of one model that has a choice of pools: what it is asked for, what that would cost, where it is.

Kept by `choice`, one a model; what it makes of that is `choice`'s. Pure: moments are told.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final, Self

import msgspec

from headrace.policy import cuts, lengths
from headrace.policy.cuts import Cut
from headrace.policy.home import Home
from headrace.policy.lengths import TYPICAL, Lengths, Mix
from headrace.policy.levels import CALM_US
from headrace.policy.options import Asked, Option, option
from headrace.policy.performance import Performance
from headrace.policy.sizing import BOOT_US, ByWork
from headrace.specs.catalog import ModelSpec, PoolSpec
from headrace.state.demand import LONG, SHORT, part_key
from headrace.state.divided import Divided
from headrace.state.table import RouteCut
from headrace.state.work import WorkRate
from headrace.units import US_PER_HOUR, US_PER_S

LOOK_US: Final = 10 * US_PER_S  # between two looks at a model
HORIZON_US: Final = US_PER_HOUR  # whose work is compared, and within which a move pays for itself
REQUESTS_MIN: Final = 30  # before their lengths are believed
RETELL: Final = 1.1  # times longer or shorter, or slower or faster, before work is told anew


@dataclass(slots=True)
class Known:
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
    split: tuple[int, int] = (1, 0)  # replicas for either part that the version had which it began as
    left: dict[tuple[str, ...], int] = field(default_factory=dict)  # where it stood before, and when it went
    found: Divided | None = None  # as it was left or begun, until enough is known to judge that
    alike: bool = False  # it lives as another version does, until it was asked enough
    compared: bool = False  # a rollout of its model was under way at the last look
    rests_us: int = 0  # until then it stays where it was compared, unless its promises cannot be kept there
    parts: Mapping[str, float] = field(default_factory=dict)  # what sizing was told that a replica does

    @classmethod
    def divided(cls, left: Divided, reason: str, now_us: int, split: tuple[int, int] = (1, 0)) -> Self:
        """Of a model that is divided already: it stays so until enough is known to judge that."""
        return cls(
            Lengths(now_us),
            moved_us=now_us,
            home=Home(left.pools, left.able, reason, left.cut, split),
            rate=left.rate,
            cut=left.cut,
            split=split,
            lives=(*left.pools[:2], left.cut.upto_tokens),
            found=left,
            parts=left.parts,
        )

    def compare(self, model: ModelSpec, now_us: int, *, under_way: bool) -> None:
        """A rollout of its model is under way, or not. What a version was asked meanwhile is no measure of what it is
        asked from then on, where it is asked at all: that is seen anew, for as long as is compared.
        """
        if self.compared and not under_way and model.weight:
            self.asked.clear()
            self.rests_us = now_us + HORIZON_US
        self.compared = under_way

    def weigh(
        self,
        model: ModelSpec,
        speeds: list[tuple[PoolSpec, Performance]],
        counts: Mapping[str, int],
        sizing: ByWork,
    ) -> bool:
        """What was asked since the last look, and what each pool, and the best pair of them, would cost; whether work
        is told anew.
        """
        mix, enough = self.lengths.mix(), self.lengths.requests >= REQUESTS_MIN
        stands = self.home.stands if self.home is not None else ()
        serves = [lengths.serves(model, speed, mix) for _, speed in speeds]
        if self.rate is not None and (self.asked or (enough and sizing.steady(model.key) > 0)):
            self.asked.append(sizing.steady(model.key) * self.told_full(mix))
        retold = self._retell(model, speeds[0][1], mix, serves[0][0])
        self.full = self.told_full(mix) or serves[0][0]
        calm = max(CALM_US, sizing.boot_us.get(model.key, BOOT_US)) // LOOK_US
        asked = Asked(self.asked or (0.0,), sizing.noise(model.key), calm)
        elsewhere = 0 if self.cut is None else None  # from a pair nothing moves to where it would just be enough
        singles = [
            option(model, pool, able, mix, asked, counts.get(pool.name, 0) if stands == (pool.name,) else elsewhere)
            for (pool, _), able in zip(speeds, serves, strict=True)
        ]
        self.options = tuple(singles)
        if self.rate is None or not enough:
            return retold
        given = cuts.Given(speeds, self.lengths, asked, self.rate.work_us)
        if not stands and len(counts) > 1:  # one of them may be where it stands
            self.options += tuple(cuts.cheapest(model, given))
            return retold
        below = min((one.nanousd for one in singles if one.nanousd is not None), default=inf)
        pairs = sorted(cuts.cheapest(model, given, below), key=cuts.cost)[:1]
        if self.cut is not None and (here := cuts.standing(model, given, stands, self.cut.upto_tokens, counts)):
            pairs = [*(one for one in pairs if one.pools != stands or cuts.better(one, here)), here]
        self.options += tuple(pairs)
        return retold

    def settle(self, model: ModelSpec, speeds: dict[str, Performance], chosen: Option | Cut) -> bool:
        """Whether it is told anew what replicas make of requests where the model lives: that is not where their work
        is told in, or their work was told anew, or they are cut by length, or cut elsewhere.
        """
        if self.rate is None:
            self.cut = None
            return False
        abroad = isinstance(chosen, Cut) or chosen.pool != next(iter(speeds))
        lives = (*chosen.pools, chosen.border)
        if self.lives == lives and abroad == (self.rate.home is not None):
            return False
        if isinstance(chosen, Cut):
            short, long = cuts.rates(model, chosen, speeds)
            self.cut = RouteCut(upto_tokens=chosen.upto_tokens, pool=chosen.long.pool, rate=long)
        else:
            short, self.cut = lengths.rate(model, speeds[chosen.pool], self.rated) if abroad else None, None
        self.lives, self.rate = lives, msgspec.structs.replace(self.rate, home=short)
        return True

    def ables(self, model: ModelSpec, chosen: Option | Cut) -> dict[str, float]:
        """What a replica where it lives does, of the one that work is told in: of the model, and of its parts."""
        single = next(one for one in self.options if isinstance(one, Option) and one.pool == chosen.pools[0])
        found = {model.key: single.able / self.full}
        if isinstance(chosen, Cut):
            for part, one, requests in zip((SHORT, LONG), (chosen.short, chosen.long), chosen.mixes, strict=True):
                found[part_key(model.key, part)] = one.able / (self.told_full(requests) or self.full)
        return found

    def told_full(self, mix: Mix) -> float:
        """Requests of the mix that fill an hour of the replica that work is told in; 0 where it is not told.

        Work is linear in tokens and was told for requests of other lengths: what it makes of these is what sizing
        counts.
        """
        return US_PER_HOUR / self.rate.work_us(mix.input_tokens, mix.output_tokens) if self.rate is not None else 0.0

    def _retell(self, model: ModelSpec, performance: Performance, mix: Mix, able: float) -> bool:
        """Whether work is told anew: requests are of other lengths now, or the pool of another speed."""
        same = max(able, self.able) <= RETELL * min(able, self.able)
        if self.rate is not None and same and not lengths.drifted(mix, self.rated, RETELL):
            return False
        self.rate, self.rated, self.able = lengths.rate(model, performance, mix), mix, able
        return True
