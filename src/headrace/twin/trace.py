"""A trace: requests by arrival, as columns.

One row is one request. Columns are numpy arrays of equal length, sorted by arrival; names of models and tenants stand
once and rows point at them. A `Trace` is frozen, its arrays are read-only, and every method gives a new one.
"""

import csv
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final, TextIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.errors import Invalid
from headrace.twin.prefixes import Kept, Paths
from headrace.units import US_PER_HOUR, US_PER_MINUTE, US_PER_S, format_us

Ints = NDArray[np.integer]

INTERACTIVE, FLEX, BATCH = 0, 1, 2
PRIORITIES: Final = ("interactive", "flex", "batch")
TOKENS_MAX: Final = 16_000_000  # input or output of one request
ROWS_MAX: Final = 50_000_000  # 37 bytes each: 1.9 GB
SPAN_MAX_US: Final = 10 * 366 * 24 * US_PER_HOUR
MODELS_MAX: Final = 1 << 15
TENANTS_MAX: Final = 1 << 24
GAP_TOLD_US: Final = US_PER_HOUR  # a longer silence is told ...
GAP_TOLD_MEANS: Final = 20  # ... when it is this many mean gaps, too

CSV_HEADS: Final = (
    "arrival_s", "input_tokens", "output_tokens", "model", "tenant", "priority", "prefix", "prefix_tokens",
)  # fmt: skip
CSV_ROWS: Final = 100_000  # written at once
DTYPES: Final = {
    "arrival_us": np.int64,
    "input_tokens": np.int32,
    "output_tokens": np.int32,
    "model": np.int16,
    "tenant": np.int32,
    "prefix": np.int64,
    "prefix_tokens": np.int32,
    "priority": np.int8,
}
NO_CHAINS: Final = np.empty((0, 2), np.int64)
DEFAULTS: Final = {"model": 0, "tenant": 0, "prefix": -1, "prefix_tokens": 0, "priority": INTERACTIVE}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What a trace amounts to. Rates in requests a second; `peak_over_mean` is of whole minutes."""

    requests: int
    span_us: int
    rate: float
    input_mean: float
    output_mean: float
    peak_rate: float
    peak_over_mean: float
    shared_input: float  # share of input tokens that belong to a prefix which was seen before
    models: int
    tenants: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """Requests sorted by arrival; `trace_of` makes one and checks it.

    `arrival_us` counts from the start of the trace, 0; all arrivals are below `span_us`, the time that was observed.
    `model` and `tenant` are places in `models` and `tenants`. `prefix` is the identity of a shared beginning of the
    input, -1 for none, and `prefix_tokens` how long it is; row i of `chains` is the prefix that prefix i is a longer
    form of, -1 for none, and the tokens of prefix i; no rows where each stands for itself. `priority` is a place in
    PRIORITIES. `notes` are what a loader repaired, left out or found odd, in sentences.
    """

    arrival_us: NDArray[np.int64]
    input_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    model: NDArray[np.int16]
    tenant: NDArray[np.int32]
    prefix: NDArray[np.int64]
    prefix_tokens: NDArray[np.int32]
    priority: NDArray[np.int8]
    models: tuple[str, ...]
    tenants: tuple[str, ...]
    span_us: int
    notes: tuple[str, ...] = ()
    chains: NDArray[np.int64] = dataclasses.field(default_factory=lambda: NO_CHAINS)

    def __len__(self) -> int:
        return len(self.arrival_us)

    def select(self, mask: ArrayLike) -> "Trace":
        """Rows by a boolean mask or by rising places; the observed time stays."""
        chosen = np.asarray(mask)
        return self._with({name: getattr(self, name)[chosen] for name in DTYPES})

    def slice(self, from_us: int, to_us: int) -> "Trace":
        """Arrivals in [from_us, to_us), counted from `from_us`; raises Invalid when that is no part of the trace."""
        to_us = min(to_us, self.span_us)
        if not 0 <= from_us < to_us:
            raise Invalid(
                f"from {format_us(from_us)} to {format_us(to_us)} is no part of a trace that lasts "
                f"{format_us(self.span_us)}; choose a beginning inside it and an end after that"
            )
        low, high = np.searchsorted(self.arrival_us, (from_us, to_us))
        columns = {name: getattr(self, name)[low:high] for name in DTYPES}
        return self._with(columns | {"arrival_us": columns["arrival_us"] - from_us}, span_us=to_us - from_us)

    def to_csv(self, file: TextIO) -> None:
        """Headrace's own form, that `tables.read` reads again: all but the notes, and names that no row has."""
        file.write(f"# headrace trace, span_us={self.span_us}\n{','.join(CSV_HEADS)}\n")
        write = csv.writer(file, lineterminator="\n").writerows
        for low in range(0, len(self), CSV_ROWS):
            part = {name: getattr(self, name)[low : low + CSV_ROWS].tolist() for name in DTYPES}
            part["arrival_s"] = [f"{at // US_PER_S}.{at % US_PER_S:06d}" for at in part["arrival_us"]]
            for name, names in (("model", self.models), ("tenant", self.tenants), ("priority", PRIORITIES)):
                part[name] = [names[place] for place in part[name]]
            write(zip(*(part[head] for head in CSV_HEADS), strict=True))

    def summary(self) -> Summary:
        """Rates, means and the peak minute."""
        count, seconds = len(self), self.span_us / US_PER_S
        minutes = -(-self.span_us // US_PER_MINUTE)
        per_minute = np.bincount(self.arrival_us // US_PER_MINUTE, minlength=minutes)
        # a last minute that was not observed whole is not compared with those that were
        whole = per_minute[: self.span_us // US_PER_MINUTE] if self.span_us >= US_PER_MINUTE else per_minute
        peak = int(whole.max()) / min(60.0, seconds)
        mean = float(whole.mean()) / min(60.0, seconds)
        return Summary(
            requests=count,
            span_us=self.span_us,
            rate=count / seconds,
            input_mean=float(self.input_tokens.mean()) if count else 0.0,
            output_mean=float(self.output_tokens.mean()) if count else 0.0,
            peak_rate=peak,
            peak_over_mean=peak / mean if mean else 0.0,
            shared_input=_shared(self),
            models=len(self.models),
            tenants=len(self.tenants),
        )

    def _with(self, columns: dict[str, Ints], *, span_us: int = 0) -> "Trace":
        for column in columns.values():
            column.setflags(write=False)
        return dataclasses.replace(self, **columns, span_us=span_us or self.span_us)  # type: ignore[arg-type]  # by name


def trace_of(
    columns: dict[str, ArrayLike],
    *,
    models: Sequence[str] = ("model",),
    tenants: Sequence[str] = ("tenant",),
    span_us: int = 0,
    notes: Sequence[str] = (),
    source: str = "",
    chains: NDArray[np.int64] = NO_CHAINS,
) -> Trace:
    """A checked trace of columns named as in `Trace`; those of DEFAULTS may be missing.

    Arrivals may begin anywhere and be out of order: they are sorted (stably) and counted from the first, which is told
    in `notes`. With `span_us` they are counted from 0 already. Raises Invalid for what can be no trace; `source` names
    the file in the message.
    """
    count = len(np.asarray(columns["arrival_us"]))
    _sizes(count, models, tenants, source)
    full: dict[str, Ints] = {name: np.full(count, value, DTYPES[name]) for name, value in DEFAULTS.items()}
    full |= {name: _ranged(name, np.asarray(value), count, source) for name, value in columns.items()}
    told = list(notes)
    late = int((np.diff(full["arrival_us"]) < 0).sum())
    if late:
        order = np.argsort(full["arrival_us"], kind="stable")
        full = {name: column[order] for name, column in full.items()}
        told.append(f"{late} of {count} requests came before the one above them; sorted by arrival.")
    arrival = full["arrival_us"]
    if not span_us:
        full["arrival_us"] = arrival = arrival - arrival[0]
        span_us = int(arrival[-1]) + 1
    _moments(arrival, span_us, source)
    _places("model", full["model"], models, source)
    _places("tenant", full["tenant"], tenants, source)
    told += _gaps(arrival, span_us)
    _consistent(full, source)
    _chained(full["prefix"], chains, source)
    for column in full.values():
        column.setflags(write=False)
    names = {"models": tuple(models), "tenants": tuple(tenants), "notes": tuple(told)}
    return Trace(**full, **names, span_us=span_us, chains=chains)  # type: ignore[arg-type]  # DTYPES are the fields


def merge(*traces: Trace) -> Trace:
    """All of them at once, from a common start; equal names of models and tenants are one."""
    return _joined(traces, [0] * len(traces), max(trace.span_us for trace in traces))


def concat(*traces: Trace) -> Trace:
    """One after the other, each when the time observed by the one before has passed."""
    spans = [trace.span_us for trace in traces]
    return _joined(traces, [sum(spans[:place]) for place in range(len(spans))], sum(spans))


def _joined(traces: Sequence[Trace], shifts: Sequence[int], span_us: int) -> Trace:
    """The rows of all, shifted; prefixes of different traces are never the same."""
    models, tenants = _numbered(trace.models for trace in traces), _numbered(trace.tenants for trace in traces)
    parts: dict[str, list[Ints]] = {name: [] for name in DTYPES}
    above, chained, chains = 0, any(len(trace.chains) for trace in traces), list[NDArray[np.int64]]()
    for trace, shift in zip(traces, shifts, strict=True):
        for name in ("input_tokens", "output_tokens", "prefix_tokens", "priority"):
            parts[name].append(getattr(trace, name))
        parts["arrival_us"].append(trace.arrival_us + shift)
        parts["model"].append(np.array([models[name] for name in trace.models], np.int16)[trace.model])
        parts["tenant"].append(np.array([tenants[name] for name in trace.tenants], np.int32)[trace.tenant])
        parts["prefix"].append(np.where(trace.prefix < 0, -1, trace.prefix + above))
        count = max(int(trace.prefix.max(initial=-1)) + 1, len(trace.chains))
        chain = np.tile([-1, 0], (count if chained else 0, 1))
        chain[: len(trace.chains)] = trace.chains + np.where(trace.chains[:, :1] >= 0, [above, 0], 0)
        chains.append(chain)
        above += count
    columns: dict[str, ArrayLike] = {name: np.concatenate(part) for name, part in parts.items()}
    columns["arrival_us"], order = _sorted(np.asarray(columns["arrival_us"]))
    columns |= {name: np.asarray(value)[order] for name, value in columns.items() if name != "arrival_us"}
    notes = dict.fromkeys(note for trace in traces for note in trace.notes)
    return trace_of(
        columns,
        models=list(models),
        tenants=list(tenants),
        span_us=span_us,
        notes=list(notes),
        chains=np.concatenate(chains).astype(np.int64),
    )


def _numbered(lists: Iterable[Sequence[str]]) -> dict[str, int]:
    return {name: place for place, name in enumerate(dict.fromkeys(name for names in lists for name in names))}


def _sorted(arrival: Ints) -> tuple[Ints, NDArray[np.intp]]:
    order = np.argsort(arrival, kind="stable")
    return arrival[order], order


def _shared(trace: Trace) -> float:
    """Share of input tokens in a prefix that an earlier request had as well."""
    total = int(trace.input_tokens.sum(dtype=np.int64))
    with_prefix = np.flatnonzero(trace.prefix >= 0)
    if not total or not len(with_prefix):
        return 0.0
    if len(trace.chains):
        cache, paths = Kept(1 << 62), Paths(trace.chains)
        rows = zip(trace.prefix[with_prefix].tolist(), trace.prefix_tokens[with_prefix].tolist(), strict=True)
        return sum(cache.take(paths.of(prefix, tokens)) for prefix, tokens in rows) / total
    _, first = np.unique(trace.prefix[with_prefix], return_index=True)
    again = np.ones(len(with_prefix), bool)
    again[first] = False
    return int(trace.prefix_tokens[with_prefix[again]].sum(dtype=np.int64)) / total


def _sizes(count: int, models: Sequence[str], tenants: Sequence[str], source: str) -> None:
    if not count:
        raise Invalid(
            "there is no request in this trace; choose another file, or a part of it that has some", where=source
        )
    limits = (
        ("requests", count, ROWS_MAX),
        ("models", len(models), MODELS_MAX),
        ("tenants", len(tenants), TENANTS_MAX),
    )
    for what, found, most in limits:
        if found > most:
            raise Invalid(f"{found} {what} are more than {most}; take a part of the trace", where=source)


def _ranged(name: str, column: NDArray[np.generic], count: int, source: str) -> Ints:
    """The column in its own type; NaN, fractions and what lies outside its limits are refused, with the row."""
    if len(column) != count:
        raise Invalid(f"{name} has {len(column)} rows and arrival_us {count}; give each request one", where=source)
    low, high = {
        "arrival_us": (-(1 << 62), 1 << 62),
        "prefix": (-1, (1 << 63) - 1),
        "priority": (0, len(PRIORITIES) - 1),
        "model": (0, MODELS_MAX - 1),
        "tenant": (0, TENANTS_MAX - 1),
    }.get(name, (0, TOKENS_MAX))
    with np.errstate(invalid="ignore"):
        bad = ~((column >= low) & (column <= high))  # type: ignore[operator]  # numbers, or numpy says so
        if column.dtype.kind == "f":
            bad |= column != np.floor(column)
    if bad.any():
        row = int(np.argmax(bad))
        raise Invalid(
            f"request {row}: {name} is {column[row]}, and must be a whole number from {low} to {high}; "
            "correct it or leave the request out",
            param=name,
            where=source,
        )
    return column.astype(DTYPES[name])


def _moments(arrival: Ints, span_us: int, source: str) -> None:
    first, last = int(arrival[0]), int(arrival[-1])
    if first < 0 or last >= span_us:
        raise Invalid(
            f"arrivals from {first} to {last} us do not lie in a span of 0 to {span_us} us; correct the span",
            param="span_us",
            where=source,
        )
    if span_us > SPAN_MAX_US:
        raise Invalid(
            f"a span of {span_us} us is more than {SPAN_MAX_US} (ten years); look at the unit of its timestamps",
            param="arrival_us",
            where=source,
        )


def _places(name: str, column: Ints, names: Sequence[str], source: str) -> None:
    if len(set(names)) != len(names):
        raise Invalid(f"a {name} is named twice; name each once", param=name, where=source)
    if int(column.max()) >= len(names):
        raise Invalid(f"{name} {int(column.max())} has no name among {len(names)}; name it", param=name, where=source)


def _consistent(columns: dict[str, Ints], source: str) -> None:
    bad = columns["prefix_tokens"] > columns["input_tokens"]
    if bad.any():
        row = int(np.argmax(bad))
        raise Invalid(
            f"request {row}: a prefix of {columns['prefix_tokens'][row]} tokens is longer than its input of "
            f"{columns['input_tokens'][row]}; shorten it",
            param="prefix_tokens",
            where=source,
        )


def _chained(prefix: Ints, chains: NDArray[np.int64], source: str) -> None:
    """Each prefix of a chained trace is in it, and each comes after what it is a longer form of, so none is its own."""
    if not len(chains):
        return
    if int(prefix.max(initial=-1)) >= len(chains):
        message = f"prefix {int(prefix.max())} is in none of {len(chains)} chains; say what it is a longer form of"
        raise Invalid(message, param="prefix", where=source)
    if (chains[:, 0] >= np.arange(len(chains))).any() or (chains < -1).any():
        raise Invalid("a prefix is a longer form of one that comes after it", param="prefix", where=source)


def _gaps(arrival: Ints, span_us: int) -> list[str]:
    """The longest silence, if it is long by itself and for this trace."""
    if len(arrival) < 2:
        return []
    gaps = np.diff(arrival)
    place = int(np.argmax(gaps))
    gap = int(gaps[place])
    if gap < GAP_TOLD_US or gap < GAP_TOLD_MEANS * span_us / len(arrival):
        return []
    hours, begin = gap / US_PER_HOUR, int(arrival[place]) / US_PER_HOUR
    return [f"No request for {hours:.1f} h from {begin:.1f} h on: a gap in the record, or nobody came."]
