"""Traces that are made, by seed: constant, of a day's rhythm, in bursts, of many models that are seldom asked for.

Lengths are lognormal about their means. A burst's gaps are Gamma-distributed with a coefficient of variation `cv`,
which is 1 for Poisson arrivals. Formulas of rates: day(t) = rate (1 + swing sin(2 pi (t - 9 h) / 24 h)).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Invalid
from headrace.twin.trace import Trace, trace_of

KINDS: Final = ("constant", "poisson", "diurnal", "bursty", "longtail")
_DEFAULTS: Final = {
    "rate": 1.0, "hours": 1.0, "input": 500.0, "output": 150.0, "spread": 0.6, "cv": 3.0, "swing": 0.6,
    "models": 20.0, "tenants": 1.0, "seed": 0.0,
}  # fmt: skip
_LIMITS: Final = {
    "rate": (1e-6, 1e5), "hours": (1e-3, 24 * 366), "input": (1, 1e6), "output": (0, 1e6), "spread": (0, 3),
    "cv": (0.05, 50), "swing": (0, 1), "models": (1, 1000), "tenants": (1, 100_000), "seed": (0, 2**31),
}  # fmt: skip
REQUESTS_MAX: Final = 50_000_000


def parse(text: str) -> tuple[str, dict[str, float]]:
    """The kind and the values of `KIND,NAME=VALUE,...`. Raises Invalid with the value, the limits and the fix.

    >>> parse("poisson,rate=25")[1]["rate"]
    25.0
    """
    kind, *parts = text.split(",")
    if kind not in KINDS:
        raise Invalid(f"nothing called {kind!r} can be generated; there are {', '.join(KINDS)}")
    values = dict(_DEFAULTS)
    for part in parts:
        name, equals, given = part.strip().partition("=")
        if not equals or name not in values:
            raise Invalid(f"{part.strip()!r} is no setting of generate; there are {', '.join(values)}")
        try:
            value = float(given)
        except ValueError:
            value = float("nan")
        low, high = _LIMITS[name]
        if not low <= value <= high:
            raise Invalid(f"{name} is {given!r}; give a number from {low:g} to {high:g}")
        values[name] = value
    if values["rate"] * values["hours"] * 3600 > REQUESTS_MAX:
        raise Invalid(f"rate and hours make more than {REQUESTS_MAX} requests; lower one of them")
    return kind, values


def generate(kind: str, values: dict[str, float], seed: int = 0) -> Trace:
    """A trace of that kind; equal values and seeds make equal traces."""
    rng = np.random.default_rng(int(values["seed"]) or seed)
    span_us = int(values["hours"] * 3.6e9)
    arrival = _arrivals(kind, values, span_us, rng)
    if not len(arrival):
        raise Invalid("no request falls into that time; raise rate or hours")
    count = len(arrival)
    models = int(values["models"]) if kind == "longtail" else 1
    weights = 1 / np.arange(1, models + 1)
    columns: dict[str, Any] = {
        "arrival_us": arrival,
        "input_tokens": _lengths(values["input"], values["spread"], 1, count, rng),
        "output_tokens": _lengths(values["output"], values["spread"], 0, count, rng),
        "model": rng.choice(models, count, p=weights / weights.sum()),
        "tenant": rng.integers(0, int(values["tenants"]), count),
    }
    names = [f"model-{number}" for number in range(models)] if models > 1 else ["model"]
    tenants = [f"tenant-{number}" for number in range(int(values["tenants"]))]
    return trace_of(columns, models=names, tenants=tenants, span_us=span_us)


def thin(trace: Trace, part: float, seed: int) -> Trace:
    """Keep each request with a probability; bursts are thinned with the rest."""
    if not 0 < part <= 1:
        raise Invalid(f"part is {part}; give a number above 0 and at most 1")
    return trace.select(np.random.default_rng(seed).random(len(trace)) < part)


def _arrivals(kind: str, values: dict[str, float], span_us: int, rng: np.random.Generator) -> NDArray[np.int64]:
    gap_us = 1e6 / values["rate"]
    if kind == "constant":
        return np.arange(gap_us / 2, span_us, gap_us).astype(np.int64)
    peak = 1 + values["swing"] if kind == "diurnal" else 1.0
    cv = values["cv"] if kind == "bursty" else 1.0
    shape = 1 / cv**2
    found: list[NDArray[np.float64]] = []
    at = 0.0
    while at < span_us:  # in pieces, until the time is over
        wanted = int((span_us - at) / gap_us * peak * 1.1) + 1000
        gaps = rng.gamma(shape, gap_us / peak / shape, wanted)
        moments = at + np.cumsum(gaps)
        found.append(moments)
        at = float(moments[-1])
    arrival = np.concatenate(found)
    arrival = arrival[arrival < span_us]
    if kind == "diurnal":
        level = 1 + values["swing"] * np.sin(2 * np.pi * (arrival / 3.6e9 - 9) / 24)
        arrival = arrival[rng.random(len(arrival)) < level / peak]
    return arrival.astype(np.int64)


def _lengths(mean: float, spread: float, least: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Lognormal with that mean: mu = ln(mean) - spread^2 / 2."""
    if mean <= 0:
        return np.full(count, least)
    drawn = rng.lognormal(np.log(mean) - spread**2 / 2, spread, count)
    return np.clip(np.round(drawn), least, 1_000_000).astype(np.int64)
