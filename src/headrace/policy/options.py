"""Which pools a model may live in, and what all its replicas on one of them would cost. Pure; called by `choice`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace.policy import capacity
from headrace.policy.lengths import Mix
from headrace.policy.sizing import kept
from headrace.specs.catalog import Catalog, ModelSpec, PoolSpec

SPARE: Final = 1.15  # times what is asked for, by which a model moves from one pool to a pair, and back


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: requests an hour at each look, the part of them that stands for noise, and the looks after
    which a replica that is too many goes.
    """

    per_hour: Sequence[float]
    noise: float
    calm: int


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
    fill: float = 0.0  # how full its replicas are

    @property
    def pools(self) -> tuple[str, ...]:
        """Where the model's replicas stand."""
        return (self.pool,)

    @property
    def border(self) -> int:
        """Where it cuts requests by length: nowhere."""
        return 0

    def told(self) -> str:
        """In words."""
        if self.nanousd is None:
            return f"{self.pool} cannot: {self.why}"
        return f"{self.pool} ${self.nanousd / 1e9:.4f} an hour ({self.replicas:.2f} replicas)"

    def costs(self) -> dict[str, float]:
        """What each pool costs an hour."""
        return {self.pool: self.nanousd or 0.0}


def candidates(model: ModelSpec, catalog: Catalog) -> list[PoolSpec]:
    """The pools a model may be moved between; empty where it has no choice: spot has rules of its own (`spot`)."""
    if not model.owned or model.task != "chat" or not model.by_cost or len(model.pools) < 2:
        return []
    pools = [pool for name in model.pools if (pool := catalog.pool(name)) is not None]
    if any(pool.interruptible or pool.price_nanousd_per_hour is None for pool in pools):
        return []
    return pools


def option(
    model: ModelSpec, pool: PoolSpec, serves: tuple[float, bool], mix: Mix, asked: Asked, have: int | None = None
) -> Option:
    """All replicas of a model on one pool, of which `have` are there; None where as many are to do with more.

    Formula: mean over looks of the whole replicas that `sizing.kept` has for asked / able, times p; asked is a seventh
        more between one pool and a pair, so that nothing moves to where it would just be enough. able and whether
        promises are kept as `lengths.serves` says.
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
        return Option(pool.name, able, why=f"its promises would not be kept for {size}")
    least, times = max(1, model.scaling.min_replicas), SPARE if have is None else 1.0
    needs = [times * rate / able for rate in asked.per_hour]
    counts = kept(needs, least, asked.calm, have or 0)
    most = min(model.scaling.max_replicas, pool.count * (1 / share).__floor__())
    replicas = sum(counts) / len(counts)
    if replicas > most:
        return Option(pool.name, able, replicas, why=f"it takes {replicas:.1f} replicas and may have {most}")
    assert pool.price_nanousd_per_hour is not None, "candidates have prices"
    return Option(
        pool.name, able, replicas, replicas * float(share) * pool.price_nanousd_per_hour, fill=sum(needs) / sum(counts)
    )
