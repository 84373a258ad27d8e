"""What the last day cost over the least it could have: one number of how good the slow brain was, on real traffic.

Hourly. Work comes from usage records, what was paid from leases, both by slot; the least is that of a clairvoyant fleet
(`planner.rolling`: of whole replicas where a model has one pool), worked out by a process of its own, since the solver
is large. Only models whose work is known are in it. A ratio says nothing without how many requests were on time, so
that is told with it.
"""

import asyncio
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from headrace import telemetry
from headrace.ports import Clock, Store
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.fleet import Lease
from headrace.state.work import WorkRate
from headrace.units import US_PER_HOUR, US_PER_S

SLOT_US: Final = 60 * US_PER_S
WINDOW_US: Final = 24 * US_PER_HOUR
SPAN_MIN_US: Final = 10 * SLOT_US  # less says nothing
SAMPLE: Final = 1_000  # latest requests of a model, for the part that was on time
_WHOLE_PPM: Final = 1_000_000
_ASK_S: Final = 120.0


class Kind(msgspec.Struct, frozen=True):
    """A pool that a model may live in: what a replica costs there, and what it does of the replica work is told in."""

    nanousd_per_hour: int
    capacity: float = 1.0


class Question(msgspec.Struct, frozen=True):
    """One model's work by slot, microseconds of a replica, the pools for it, and what was paid."""

    work_us: list[float]
    kinds: list[Kind]
    boot_us: int
    paid_nanousd: int
    slot_us: int = SLOT_US


class Hindsight(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at `at_us` of the time from `from_us` on. `on_time_ppm` is of the requests that were looked at.

    `whole` are those of the models whose least is that of whole replicas; of the others replicas may be fractions.
    """

    at_us: int
    from_us: int
    paid_nanousd: int
    optimum_nanousd: int
    on_time_ppm: int
    models: tuple[str, ...]
    whole: tuple[str, ...] = ()

    @property
    def ratio_ppm(self) -> int:
        """Paid over the least, in millionths; 0 when nothing was asked."""
        return _WHOLE_PPM * self.paid_nanousd // self.optimum_nanousd if self.optimum_nanousd else 0


class Hindsights:
    """Asks once an hour, and remembers the last answer. `able` tells what a replica of each known pool does."""

    def __init__(
        self,
        store: Store,
        argv: Sequence[str],
        rate: Callable[[ModelSpec], WorkRate | None],
        able: Callable[[ModelSpec], Mapping[str, float]],
        clock: Clock,
    ) -> None:
        self._store = store
        self._argv = argv
        self._rate = rate
        self._able = able
        self._clock = clock
        self.last: Hindsight | None = None

    async def turn(self, catalog: Catalog, wake_us: Callable[[str], int]) -> None:
        """Look back over the last day. What cannot be told is left as it was told last."""
        now_us = self._clock.now_us()
        leases = self._store.leases_since(now_us - WINDOW_US)
        from_us = max(now_us - WINDOW_US, min((lease.started_us for lease in leases), default=now_us))
        count = (now_us - from_us) // SLOT_US
        if count * SLOT_US < SPAN_MIN_US:
            return
        asked = await asyncio.to_thread(self._store.work_by_slot, now_us - count * SLOT_US, SLOT_US)
        models, questions = [], []
        for model in _served(catalog):
            rate, kinds = self._rate(model), _kinds(model, self._able(model), catalog)
            mine = asked.get(model.name)
            if rate is None or not kinds or not mine:
                continue
            work = [0.0] * count
            for slot, requests, input_tokens, output_tokens in mine:
                if 0 <= slot < count:
                    work_ns = requests * rate.fixed_ns + input_tokens * rate.input_ns + output_tokens * rate.output_ns
                    work[slot] += work_ns / 1000
            models.append(model)
            paid = _paid(model, leases, catalog, now_us - count * SLOT_US, now_us)
            questions.append(Question(work, kinds, wake_us(model.key), paid))
        if not questions:
            return
        least = await self._ask(questions)
        if least is not None:
            self.last = Hindsight(
                at_us=now_us,
                from_us=now_us - count * SLOT_US,
                paid_nanousd=sum(question.paid_nanousd for question in questions),
                optimum_nanousd=sum(nanousd for nanousd, _ in least),
                on_time_ppm=self._on_time(models),
                models=tuple(model.key for model in models),
                whole=tuple(model.key for model, (_, whole) in zip(models, least, strict=True) if whole),
            )

    async def _ask(self, questions: list[Question]) -> list[tuple[int, bool]] | None:
        try:
            done = await asyncio.to_thread(
                subprocess.run, self._argv, input=msgspec.json.encode(questions), capture_output=True, timeout=_ASK_S
            )
            return msgspec.json.decode(done.stdout, type=list[tuple[int, bool]])
        except (OSError, subprocess.TimeoutExpired, msgspec.MsgspecError) as error:
            telemetry.logger().error("hindsight.silent", error=repr(error))
            return None

    def _on_time(self, models: Iterable[ModelSpec]) -> int:
        kept = looked = 0
        for model in models:
            for row in self._store.usage_list(limit=SAMPLE, model=model.name):
                looked += 1
                kept += row.outcome in ("finished", "cancelled") and row.first_us <= model.objective.ttft_us
        return _WHOLE_PPM * kept // looked if looked else _WHOLE_PPM


def _served(catalog: Catalog) -> list[ModelSpec]:
    """Each model once, by the version that has most of its traffic: work and costs are of all its versions."""
    most: dict[str, ModelSpec] = {}
    for model in catalog.models:
        if model.weight > (most[model.name].weight if model.name in most else 0):
            most[model.name] = model
    return list(most.values())


def _kinds(model: ModelSpec, able: Mapping[str, float], catalog: Catalog) -> list[Kind]:
    """Its pools of known speed and price."""
    known = ((pool, able[name]) for name in model.pools if name in able and (pool := catalog.pool(name)) is not None)
    return [
        Kind(
            pool.price_nanousd_per_hour
            * min(_WHOLE_PPM, _WHOLE_PPM * model.memory_bytes // pool.memory_bytes)
            // _WHOLE_PPM,
            does,
        )
        for pool, does in known
        if pool.price_nanousd_per_hour and pool.memory_bytes
    ]


def _paid(model: ModelSpec, leases: Iterable[Lease], catalog: Catalog, from_us: int, to_us: int) -> int:
    """What the model's replicas took of devices in that time, at their pools' prices."""
    paid = 0
    for lease in leases:
        pool = catalog.pool(lease.pool)
        if lease.model != model.name or pool is None or not pool.price_nanousd_per_hour:
            continue
        length_us = min(lease.ended_us or to_us, to_us) - max(lease.started_us, from_us)
        if length_us > 0:
            paid += pool.price_nanousd_per_hour * lease.share_ppm * length_us // (_WHOLE_PPM * US_PER_HOUR)
    return paid
