"""More or less of a trace: by request (`thin`), or by client, whose own rhythm stays (`scale_clients`); batch work.

Thinning a stream whose counts have the index of dispersion I (variance over mean) by p leaves 1 + p (I - 1): a tenth of
bursty traffic looks calm. Whole clients keep theirs, and a sum of independent clients has their common index.
"""

import itertools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Invalid
from headrace.twin.trace import BATCH, DTYPES, ROWS_MAX, Trace, merge, trace_of
from headrace.units import US_PER_HOUR

SHIFT_US: Final = US_PER_HOUR  # at most so much earlier or later is a copy, besides whole days
DAY_US: Final = 24 * US_PER_HOUR
FACTOR_MAX: Final = 1000
BATCH_TENANT: Final = "batch"


def thin(trace: Trace, part: float, seed: int) -> Trace:
    """Keep each request with a probability; bursts are thinned with the rest."""
    if not 0 < part <= 1:
        raise Invalid(f"part is {part}; give a number above 0 and at most 1")
    return trace.select(np.random.default_rng(seed).random(len(trace)) < part)


def scale_clients(trace: Trace, factor: float, seed: int) -> Trace:
    """About `factor` times the traffic by whole tenants: each stays once, is repeated, or is left out.

    Every tenant is there floor(factor) times and once more with the rest as its probability, the number of tenants
    being as near as it can be. Copies are tenants of their own (`name~2`) with prefixes of their own, and come up to an
    hour (a quarter of a short trace) earlier or later, and in a trace of whole days on another day, at its time of day;
    what falls off one end comes in at the other. Raises Invalid for a factor of nothing or too much.
    """
    if not 0 < factor <= FACTOR_MAX:
        raise Invalid(f"factor is {factor}; give a number above 0 and at most {FACTOR_MAX}")
    if factor * len(trace) > ROWS_MAX:
        raise Invalid(f"{factor} times {len(trace)} requests are more than {ROWS_MAX}; lower the factor")
    rng = np.random.default_rng(seed)
    whole, rest = int(factor), factor - int(factor)
    clients = len(trace.tenants)
    copies = [np.ones(clients, bool) for _ in range(whole)]
    if rest:
        copies.append(_some(clients, rest, rng))
    parts = [_copy(trace, chosen, number, rng) for number, chosen in enumerate(copies) if chosen[trace.tenant].any()]
    if not parts:
        raise Invalid(f"{factor} times {clients} tenants are none; raise the factor, or thin by request")
    return merge(*parts)


def with_batch(trace: Trace, part: float, seed: int) -> Trace:
    """Batch requests beside a trace's own, `part` times as many: sizes and models drawn from it, at any moment of it.

    They are of a tenant `batch` and share no prefix. Raises Invalid for nothing or too much.
    """
    count = round(part * len(trace))
    if not 0 < count <= ROWS_MAX - len(trace):
        raise Invalid(f"{part} times {len(trace)} batch requests; give a share that makes 1 to {ROWS_MAX - len(trace)}")
    rng = np.random.default_rng(seed)
    like = rng.integers(0, len(trace), count)
    columns: dict[str, Any] = {name: getattr(trace, name)[like] for name in ("input_tokens", "output_tokens", "model")}
    columns["arrival_us"] = np.sort(rng.integers(0, trace.span_us, count))
    columns["priority"] = np.full(count, BATCH)
    return merge(trace, trace_of(columns, models=trace.models, tenants=[BATCH_TENANT], span_us=trace.span_us))


def _some(count: int, part: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Systematic sampling: each with the same probability `part`, floor or ceiling of part x count of them."""
    chosen = np.zeros(count, bool)
    marks = np.floor(np.arange(count + 1) * part + rng.random())
    chosen[rng.permutation(count)] = np.diff(marks) > 0
    return chosen


def _copy(trace: Trace, chosen: NDArray[np.bool_], number: int, rng: np.random.Generator) -> Trace:
    """The chosen tenants' requests; the first copy (0) is not moved."""
    rows = chosen[trace.tenant]
    columns: dict[str, Any] = {name: getattr(trace, name)[rows] for name in DTYPES}
    if number:
        moved = (columns["arrival_us"] + _shifts(trace.span_us, len(chosen), rng)[columns["tenant"]]) % trace.span_us
        order = np.argsort(moved, kind="stable")
        columns = {name: column[order] for name, column in columns.items()} | {"arrival_us": moved[order]}
    columns["tenant"] = (np.cumsum(chosen) - 1)[columns["tenant"]]
    names = [name if not number else f"{name}~{number + 1}" for name in itertools.compress(trace.tenants, chosen)]
    return trace_of(columns, models=trace.models, tenants=names, span_us=trace.span_us, notes=trace.notes)


def _shifts(span_us: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    most = min(SHIFT_US, span_us // 4)
    shifts = rng.integers(-most, most + 1, count)
    if span_us % DAY_US == 0:
        shifts += rng.integers(0, span_us // DAY_US, count) * DAY_US
    return shifts
