"""Where a model stands and why: its replicas now, what they cost, what was decided last, and what else was possible."""

from typing import Final

from headrace.control.controller import Controller
from headrace.specs.catalog import ModelSpec
from headrace.state.decision import Decision
from headrace.state.fleet import Replica
from headrace.units import NANOUSD_PER_USD

EVENTS: Final = 10  # of a model's replicas, the newest
REPLICAS: Final = 8  # whose decisions are looked at
_TOLD: Final = frozenset(
    {"replica.start", "replica.stop", "replica.sleep", "replica.wake", "replica.failed", "replica.refused"}
)
_STATES: Final = {"pending": "starting", "dozing": "falling asleep"}


def decided(control: Controller, model: ModelSpec) -> list[Decision]:
    """What was decided of a model version and of its latest replicas, oldest first."""
    names = {lease.replica for lease in control.store.lease_list() if (lease.model, lease.version) == _id(model)}
    names |= {replica.id for replica in control.loop.fleet.of(model.key)}
    latest = sorted(names)[-REPLICAS:]
    found = [one for name in latest for one in control.store.decisions(limit=EVENTS, subject=name) if one.kind in _TOLD]
    own = control.store.decisions(limit=EVENTS, subject=model.key)
    newest = sorted(found, key=lambda one: one.seq)[-EVENTS:]
    return sorted([*own, *newest], key=lambda one: one.seq)


def lines(control: Controller, model: ModelSpec) -> list[str]:
    """What is so now, and what holds: replicas and their price, the choice of pools, what cannot be, what is wrong."""
    loop = control.loop
    mine = [replica for replica in loop.fleet.of(model.key) if replica.phase != "failed"]
    least, most = model.scaling.min_replicas, model.scaling.max_replicas
    there = ", ".join(_place(control, replica) for replica in mine) or "no replica: it is started when it is asked for"
    whole = sum(other.weight for other in control.catalog.models if other.name == model.name)
    part = 100 * model.weight / whole if whole else 0
    found = [f"now       {there} (min {least}, max {most}); {part:.0f} % of the traffic"]
    if (home := loop.choices.homes.get(model.key)) is not None:
        found.append(f"stands    {home.reason}")
    found += [f"waits     {hold.reason}" for hold in loop.holds if hold.model == model.key]
    found += [f"fault     {fault}"] if (fault := loop.fault(model)) else []
    return found


def _id(model: ModelSpec) -> tuple[str, str]:
    return model.name, model.version


def _place(control: Controller, replica: Replica) -> str:
    """One replica: its state, where it is, what that costs."""
    pool = control.catalog.pool(replica.pool)
    state = _STATES.get(replica.phase, replica.phase)
    cost = ""
    if pool is not None and pool.price_nanousd_per_hour is not None and pool.memory_bytes:
        held = replica.kept_bytes if replica.phase == "asleep" else replica.memory_bytes
        cost = f" at ${pool.price_nanousd_per_hour * held / pool.memory_bytes / NANOUSD_PER_USD:.4f} an hour"
    return f"{replica.id} {state} on {replica.pool}/{replica.device}{cost}"
