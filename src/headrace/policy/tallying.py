"""What requests that ended say of a rollout: errors, first tokens that were late, tokens that were dear. Pure.

Judged by `policy.rollout`; from the same records in a cloud and in the twin.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.rollout import Rollout, Tally
from headrace.state.usage import Usage
from headrace.units import US_PER_HOUR

BASELINE_LEAST: Final = 20  # requests of the version before, without which there is no pace and no cost to keep
SLOW_PERCENT: Final = 200  # of the time to first token, from sending on, that 95 of 100 kept with the stable version
DEAR_PERCENT: Final = 125  # of what a token cost with the stable version
APART_PERCENT: Final = 160  # of that, where the stable version served at another time: the machine had another load


def tally(row: Usage, rollout: Rollout, catalog: Catalog) -> Tally:
    """One request. Only what the cloud itself did wrong is an error; what a client did is none.

    One that was held while a replica started says nothing of the version's pace: it waited for the start, and went out
    together with all who did, on a replica that had not worked yet; and so did who came before the backlog was served.
    Where nothing serves beside it, a wait for a slot counts for nothing, for the other had another load.
    """
    model = catalog.model(f"{row.model}@{row.version}") or rollout.spec
    broken = row.status >= 500 and row.outcome == "failed"
    tokens = _tokens(row)
    cost = _cost_nanousd(catalog, model, _slots(catalog, rollout), row.busy_us)
    most = rollout.dear_nanousd * (APART_PERCENT if rollout.solo else 100) // 100
    dear = bool(most and cost and tokens and cost * 1000 > most * tokens)
    serving_us = row.first_us - min(row.first_us, row.queue_us)
    late = (serving_us if rollout.solo else row.first_us) > model.objective.ttft_us
    late = late or bool(rollout.slow_us and serving_us > rollout.slow_us)
    paced = not (row.cold or (row.version == rollout.candidate and row.arrived_us < rollout.calm_us))
    return Tally(
        requests=1,
        errors=int(broken),
        slow=int(broken or (late and paced)),
        dear=int(dear and paced),
        unpaced=int(not (paced or broken)),
        ttft_us=row.first_us,
        ttfts=int(row.first_us > 0),
        tokens=tokens,
        cost_nanousd=cost,
    )


def total(rows: Iterable[Usage], rollout: Rollout, catalog: Catalog) -> Tally:
    """Some requests together."""
    found = Tally()
    for row in rows:
        found = found.plus(tally(row, rollout, catalog))
    return found


def slow_us(rows: Sequence[Usage]) -> int:
    """The most from sending to the first token, in microseconds; 0 when too little was served to say."""
    told = sorted(row.first_us - row.queue_us for row in rows if row.first_us > row.queue_us and not row.cold)
    return told[len(told) * 95 // 100] * SLOW_PERCENT // 100 if len(told) >= BASELINE_LEAST else 0


def dear_nanousd(catalog: Catalog, stable: ModelSpec, rows: Sequence[Usage]) -> int:
    """The most that 1,000 tokens may cost, in nano-dollars; 0 when too little was served to say."""
    told = [row for row in rows if row.outcome == "finished"]
    tokens = sum(map(_tokens, told))
    cost = sum(_cost_nanousd(catalog, stable, stable.engine.slots, row.busy_us) for row in told)
    return cost * 1000 * DEAR_PERCENT // (100 * tokens) if len(told) >= BASELINE_LEAST and tokens else 0


def _tokens(row: Usage) -> int:
    return row.output_tokens if row.task == "chat" else row.input_tokens


def _slots(catalog: Catalog, rollout: Rollout) -> int:
    """Both versions are charged for slots of the same size: half as many slots do not make each work cost twice."""
    stable = catalog.model(f"{rollout.model}@{rollout.stable}")
    return stable.engine.slots if stable else rollout.spec.engine.slots


def _cost_nanousd(catalog: Catalog, model: ModelSpec, slots: int, busy_us: int) -> int:
    """What a slot was worth that long on the first of the model's pools; 0 when nobody said what a device costs."""
    pool = catalog.pool(model.pools[0]) if model.pools else None
    rate = pool.price_nanousd_per_hour if pool else None
    return 0 if rate is None else busy_us * rate // (US_PER_HOUR * slots)
