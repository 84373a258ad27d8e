"""How a model's replicas are divided between devices that may be taken away (spot) and those that stay. Pure.

For models whose first pool is interruptible. Spot carries the load with one replica to spare, so that losing one keeps
the objective; what spot has no room for, and all of it when spot is dear, stands on the pools that stay; when spot
comes back, those there are ready before these go. Of several spot pools the cheapest is filled, what losses cost
included, and one replica stands apart (`spot_pools`); those dearer than what stays are a last resort. One replica of a
model with a minimum always stays, unless its placement names spot alone. Called by `plan`; it decides from the state,
so a loss needs no event to be dealt with.

Source: over-provisioned spot with dynamic fallback, SkyServe (Z. Mao et al., EuroSys 2025), as levels, not events.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.policy.planning import BOOT_US
from headrace.policy.spot_pools import Cost, costs, replica_nanousd
from headrace.specs.catalog import ModelSpec, PoolSpec, Scaling


@dataclass(frozen=True, slots=True)
class Pools:
    """A model's pools of either kind, the first choice first; what a replica costs an hour on the first of each.

    `costs` are those of spot, the cheapest first, where that is chosen by cost; empty where the file's order stands.
    """

    spot: tuple[str, ...]
    firm: tuple[str, ...]
    spot_nanousd: int | None = None
    firm_nanousd: int | None = None
    costs: tuple[Cost, ...] = ()

    @property
    def fair(self) -> tuple[str, ...]:
        """The spot pools that are no dearer than what stays; all where that is not known, or none is."""
        stays = self.firm_nanousd
        cheap = tuple(one.pool for one in self.costs if stays is None or one.nanousd <= stays)
        return cheap or self.spot

    @property
    def priced(self) -> bool:
        """Whether the two can be compared."""
        return self.spot_nanousd is not None and self.firm_nanousd is not None


@dataclass(frozen=True, slots=True)
class There:
    """Replicas that work, how many of them are ready, and how many more would fit now."""

    spot: int = 0
    spot_ready: int = 0
    spot_room: int = 0
    firm: int = 0
    firm_ready: int = 0
    firm_room: int = 0


@dataclass(frozen=True, slots=True)
class Split:
    """What to start and to stop of either kind, and why, in words that follow the reason of the number."""

    start_spot: int = 0
    start_firm: int = 0
    stop_spot: int = 0
    stop_firm: int = 0
    why_spot: str = ""
    why_firm: str = ""


def pools_of(model: ModelSpec, pools: Mapping[str, PoolSpec], boot_us: int = BOOT_US) -> Pools | None:
    """The model's pools by kind; None when its first one stays, and spot is where what does not fit there goes."""
    known = [pools[name] for name in model.pools if name in pools]
    if not known or not known[0].interruptible:
        return None
    spot = [pool for pool in known if pool.interruptible]
    firm = [pool for pool in known if not pool.interruptible]
    if not model.by_cost or not (priced := costs(model, spot, boot_us)):
        return Pools(
            spot=tuple(pool.name for pool in spot),
            firm=tuple(pool.name for pool in firm),
            spot_nanousd=replica_nanousd(model, spot[0]),
            firm_nanousd=replica_nanousd(model, firm[0]) if firm else None,
        )
    stays = costs(model, firm, boot_us)
    return Pools(
        spot=tuple(one.pool for one in priced),
        firm=tuple(one.pool for one in stays) or tuple(pool.name for pool in firm),
        spot_nanousd=priced[0].nanousd,
        firm_nanousd=stays[0].nanousd if stays else None,
        costs=priced,
    )


def without_spare(scaling: Scaling, there: There) -> int:
    """How many replicas the load had, of those there are: what is spare, or is just moving, does not count."""
    if not there.spot:
        return there.firm
    total = there.spot + there.firm
    spare = 1 if total > 2 or scaling.min_replicas else 0
    stays = min(1, there.firm, scaling.min_replicas)
    return max(0, there.firm + there.spot_ready - spare, there.spot + stays - spare)


def split(scaling: Scaling, pools: Pools, there: There, count: int) -> Split:
    """`count` replicas for the load, divided.

    Formula: spot = n - a + s, or what has no room elsewhere when it is dear; firm = max(a, min(n, n + s - spot there)),
        a = 1 where a minimum must stay, s = 1 spare. Dear to begin with: (n - a + s) p_spot > (n - a) p_firm; dear to
        stay with: p_spot > p_firm.
    Units: replicas; p nano-dollars a replica an hour.
    Assumes: losses come one at a time; a model that may sleep needs no spare for its only replica, since its users
        wait for starts anyway.
    Example: n = 3, min 1: one stays and three are on spot; when two of those are lost, two more stay meanwhile.
    """
    if count <= 0:
        return Split(stop_spot=there.spot, stop_firm=there.firm)
    most, stays = scaling.max_replicas, 1 if scaling.min_replicas and pools.firm else 0
    reachable = min(stays, there.firm + there.firm_room)  # nobody goes unserved because nothing that stays is free
    on_spot = count - reachable
    spare = 1 if on_spot and (count > 1 or scaling.min_replicas) else 0
    dear = _dear(pools, there, on_spot, spare)
    if dear:  # but for what has no room elsewhere
        on_spot = max(0, count - there.firm - there.firm_room)
    target = min(on_spot + spare, most - reachable) if on_spot else 0
    reach = min(target, there.spot + there.spot_room) if pools.firm else target

    def firm(spot: int) -> int:
        return max(stays, min(count, count + spare - spot)) if pools.firm else 0

    free = max(0, most - there.spot - there.firm)
    start_spot = max(0, min(reach - there.spot, free))
    return Split(
        start_spot=start_spot,
        start_firm=max(0, min(firm(reach) - there.firm, free - start_spot)),
        stop_spot=max(0, there.spot - max(target, count - there.firm_ready)),
        stop_firm=max(0, there.firm - firm(min(there.spot_ready, target))),
        why_spot=f"{target} on spot, so that {count} are left when one is lost" if spare else "on spot",
        why_firm=_why_firm(pools, target, reach, dear=dear),
    )


def _dear(pools: Pools, there: There, on_spot: int, spare: int) -> bool:
    if pools.spot_nanousd is None or pools.firm_nanousd is None:
        return False
    if there.spot:
        return pools.spot_nanousd > pools.firm_nanousd
    return (on_spot + spare) * pools.spot_nanousd > on_spot * pools.firm_nanousd


def _why_firm(pools: Pools, target: int, reach: int, *, dear: bool) -> str:
    if dear and pools.spot_nanousd is not None and pools.firm_nanousd is not None:
        asked, stays = pools.spot_nanousd / 1e9, pools.firm_nanousd / 1e9
        return f"spot is dear: ${asked:.4f} an hour a replica and one to spare, against ${stays:.4f}"
    if reach < target:
        return f"spot ({', '.join(pools.spot)}) has room for {reach} of {target}"
    return "one never on spot, since there is a minimum" if reach else "not on spot"
