"""How fast each model is on each kind of device: as its own requests there taught, kept in the store.

Learned by model version and place. A place is a pool, and the part of a device that a replica holds where it hands
out parts: the same model on two kinds of device is learned twice, and neither figure spoils the other.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

import msgspec

from headrace.economics import work
from headrace.economics.sharing import Member
from headrace.economics.work import SAMPLES_MIN, Company, Samples, WorkModel
from headrace.policy import performance
from headrace.policy.performance import Measured, Performance
from headrace.ports import Store
from headrace.specs.catalog import Catalog, ModelSpec, PoolSpec
from headrace.state.fleet import Device, Lease
from headrace.state.usage import Usage

LEARN_MAX: Final = 100
_WORK: Final = "work:"


class Speeds:
    """Samples by model version and place, read when they are first needed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._samples: dict[str, Samples] = {}

    def at(self, key: str, place: str) -> WorkModel:
        """The work model of a model version at a place, as far as it was learned."""
        return work.fitted(self._sample(f"{key}/{place}"))

    def measured(self, model: ModelSpec, pool: PoolSpec) -> Measured | None:
        """How a model runs in a pool; None while too few of its requests there were seen."""
        learned = self.at(model.key, pool_place(pool, model.memory_bytes))
        if learned.samples < SAMPLES_MIN or not learned.prefill_ns or learned.residual_ppm < 0:
            return None
        return Measured(learned, model.engine.slots * model.engine.context_tokens)

    def of(self, model: ModelSpec, pool: PoolSpec, catalog: Catalog) -> Performance | None:
        """As measured there, else as foretold from the table and from where it was measured; None: nobody knows."""
        here = self.measured(model, pool)
        if here is not None:
            return here
        others = (other for other in map(catalog.pool, model.pools) if other is not None and other.name != pool.name)
        known = ((other, found) for other in others if (found := self.measured(model, other)) is not None)
        return performance.expected(model, pool, next(known, None))

    def learn(
        self, device: Device, leases: Iterable[Lease], rows: Iterable[Usage], members: Mapping[str, list[Member]]
    ) -> None:
        """What engines on a device told of their times."""
        keys = {lease.name: f"{lease.model}@{lease.version}/{place(device, lease.memory_bytes)}" for lease in leases}
        changed = set()
        for row in [row for row in rows if row.outcome == "finished"][-LEARN_MAX:]:
            name = f"{row.replica}/{row.incarnation}"
            key = keys.get(name)
            if key is None or row.parts:  # the times of parts that ran side by side are of several replicas
                continue
            self._samples[key] = _after(self._sample(key), row, members[name])
            changed.add(key)
        for key in changed:
            self._store.put(_WORK + key, msgspec.json.encode(self._samples[key]))

    def _sample(self, key: str) -> Samples:
        if key not in self._samples:
            kept = self._store.get(_WORK + key)
            self._samples[key] = msgspec.json.decode(kept, type=Samples) if kept else Samples()
        return self._samples[key]


def _after(samples: Samples, row: Usage, there: list[Member]) -> Samples:
    """What was learned before, and one request more."""
    if row.task != "chat":
        return work.learn_items(samples, busy_us=row.left_us - row.sent_us, items=max(1, row.items))
    return work.learn(
        samples,
        present=presence(row, there),
        company=company(row, there, work.fitted(samples)),
        decode_us=row.engine_decode_us,
        decode_tokens=row.output_tokens,
        prompt=work.Prompt(
            us=row.engine_prefill_us,
            tokens=row.input_tokens - row.cached_tokens,
            cached=row.cached_tokens,
            first_us=row.arrived_us + row.first_us - row.sent_us if row.stream and row.first_us else 0,
        ),
    )


def place(device: Device, memory_bytes: int) -> str:
    """What makes replicas on a device alike: its pool, and their part of a device that is handed out in parts.

    >>> place(Device(node="n", device="d", pool="p", memory_bytes=80, cpus=2, grain_bytes=20), 30)
    'p:2/4'
    """
    return _place(device.pool, device.grain_bytes, device.memory_bytes, memory_bytes)


def pool_place(pool: PoolSpec, memory_bytes: int) -> str:
    """The same of a pool's devices."""
    return _place(pool.name, pool.grain_bytes, pool.memory_bytes, memory_bytes)


def _place(pool: str, grain_bytes: int, of_bytes: int, memory_bytes: int) -> str:
    parts = f":{-(-memory_bytes // grain_bytes)}/{of_bytes // grain_bytes}" if grain_bytes else ""
    return pool + parts


def presence(row: Usage, members: Iterable[Member]) -> float:
    """How many requests were at the replica on average while this one was, itself included."""
    length = row.left_us - row.sent_us
    if length <= 0:
        return 1.0
    return max(1.0, sum(_overlap(one.start_us, one.end_us, row.sent_us, row.left_us) for one in members) / length)


def company(row: Usage, members: Iterable[Member], model: WorkModel) -> Company:
    """Steps are shorter where fewer write, so that there are more of them there: by what is known of steps so far."""
    first_us, own = _first_us(row), row.input_tokens + row.output_tokens / 2
    others = [
        one for one in members if one.start_us < row.left_us and one.end_us > first_us and one.request != row.request
    ]
    moments = {first_us, row.left_us}
    for one in others:
        moments |= {at for at in (_reads_from(one), one.first_us, one.end_us) if first_us < at < row.left_us}
    steps = together = looked = 0.0
    held_up_us = 0
    for from_us, to_us in pairwise(sorted(moments)):
        if any(_reads_from(one) <= from_us and one.first_us >= to_us for one in others):
            held_up_us += to_us - from_us
            continue
        writers = [one for one in others if one.first_us <= from_us and one.end_us >= to_us]
        count = 1 + len(writers)
        context = own + sum(one.prefill_tokens + one.decode_tokens / 2 for one in writers)
        passed = (to_us - from_us) / (model.step_ns(count, context / count) or 1.0)
        steps, together, looked = steps + passed, together + passed * count, looked + passed * context
    return Company(together / steps, looked / steps, held_up_us) if steps else Company(1.0, own, held_up_us)


def _reads_from(one: Member) -> int:
    """When the engine began with its prompt."""
    return max(one.start_us, one.first_us - one.read_us) if one.read_us else one.start_us


def _first_us(row: Usage) -> int:
    """When it began to write: as was seen of a stream, else as the engine told."""
    if row.first_us and row.stream:
        return min(max(row.arrived_us + row.first_us, row.sent_us), row.left_us)
    return max(row.sent_us, row.left_us - row.engine_decode_us)


def _overlap(start_us: int, end_us: int, from_us: int, to_us: int) -> int:
    return max(0, min(end_us, to_us) - max(start_us, from_us))
