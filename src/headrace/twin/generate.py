"""Traces that are made, by seed: constant, of a day's rhythm, in bursts, of many models that are seldom asked for.

Lengths are lognormal about their means. A burst's gaps are Gamma-distributed with a coefficient of variation `cv`,
which is 1 for Poisson arrivals. Formulas of rates: day(t) = rate (1 + swing sin(2 pi (t - 9 h) / 24 h)).

`onoff` is a Poisson process modulated by a Markov chain of two states of `on` and `off` seconds in the mean, which in
the second has `low` times the rate of the first (0: silence); `rate` is the mean of all. In a `longtail` each model has
such users of its own when `on` and `off` are given; its share of the rate goes with 1/rank (Zipf).
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Invalid
from headrace.twin.trace import Trace, trace_of
from headrace.twin.values import values_of

KINDS: Final = ("constant", "poisson", "diurnal", "bursty", "onoff", "longtail")
ON_S: Final = 60.0
OFF_S: Final = 240.0
_DEFAULTS: Final = {
    "rate": 1.0, "hours": 1.0, "input": 500.0, "output": 150.0, "spread": 0.6, "cv": 3.0, "swing": 0.6,
    "models": 20.0, "tenants": 1.0, "seed": 0.0, "days": 0.0, "on": 0.0, "off": 0.0, "low": 0.0,
}  # fmt: skip
_LIMITS: Final = {
    "rate": (1e-6, 1e5), "hours": (1e-3, 24 * 366), "input": (1, 1e6), "output": (0, 1e6), "spread": (0, 3),
    "cv": (0.05, 50), "swing": (0, 1), "models": (1, 1000), "tenants": (1, 100_000), "seed": (0, 2**31),
    "days": (0, 366), "on": (0, 1e6), "off": (0, 1e6), "low": (0, 1),
}  # fmt: skip
_OWN: Final = {
    "diurnal": ("swing",), "bursty": ("cv",), "onoff": ("on", "off", "low"), "longtail": ("models", "on", "off", "low"),
}  # fmt: skip
REQUESTS_MAX: Final = 50_000_000
TURNS_MAX: Final = 10_000_000


def parse(text: str) -> tuple[str, dict[str, float]]:
    """The kind and the values of `KIND,NAME=VALUE,...`. Raises Invalid with the value, the limits and the fix.

    >>> parse("poisson,rate=25")[1]["rate"]
    25.0
    """
    kind, *parts = text.split(",")
    if kind not in KINDS:
        raise Invalid(f"nothing called {kind!r} can be generated; there are {', '.join(KINDS)}")
    values = {**_DEFAULTS, **values_of(parts, _settings(kind, parts), _LIMITS, f"generate:{kind}")}
    if values["days"]:
        if any(part.strip().startswith("hours") for part in parts):
            raise Invalid("days and hours are both given; give one of them")
        values["hours"] = 24 * values["days"]
    if kind == "onoff":
        values["on"], values["off"] = values["on"] or ON_S, values["off"] or OFF_S
    if bool(values["on"]) != bool(values["off"]):
        raise Invalid("on and off belong together; give both, in seconds")
    if values["low"] and not values["on"]:
        raise Invalid("low is for users who come and go; give on and off, in seconds, too")
    turns = values["hours"] * 3600 / (values["on"] + values["off"]) if values["on"] else 0
    if turns * (values["models"] if kind == "longtail" else 1) > TURNS_MAX:
        raise Invalid(f"on and off make more than {TURNS_MAX} turns in that time; raise them or lower hours")
    if values["rate"] * values["hours"] * 3600 > REQUESTS_MAX:
        raise Invalid(f"rate and hours make more than {REQUESTS_MAX} requests; lower one of them")
    return kind, values


def _settings(kind: str, parts: Sequence[str]) -> dict[str, float]:
    """The settings of a kind with their defaults. Raises Invalid where `parts` set another kind's."""
    others = {name for names in _OWN.values() for name in names} - set(_OWN.get(kind, ()))
    mine = {name: value for name, value in _DEFAULTS.items() if name not in others}
    for name in (part.partition("=")[0].strip() for part in parts):
        if name in others:
            whose = " and ".join(other for other, names in _OWN.items() if name in names)
            raise Invalid(f"{name} is a setting of {whose}, and {kind} has none of that; it has {', '.join(mine)}")
    return mine


def generate(kind: str, values: dict[str, float], seed: int = 0) -> Trace:
    """A trace of that kind; equal values and seeds make equal traces."""
    rng = np.random.default_rng(int(values["seed"]) or seed)
    span_us = int(values["hours"] * 3.6e9)
    models = int(values["models"]) if kind == "longtail" else 1
    shares = (1 / np.arange(1, models + 1)) / (1 / np.arange(1, models + 1)).sum()
    if values["on"]:
        arrival, model = _users(values, shares, span_us, rng)
    else:
        arrival = _arrivals(kind, values, span_us, rng)
        model = np.zeros(0, np.int64)
    if not len(arrival):
        raise Invalid("no request falls into that time; raise rate or hours")
    count = len(arrival)
    columns: dict[str, Any] = {
        "arrival_us": arrival,
        "input_tokens": _lengths(values["input"], values["spread"], 1, count, rng),
        "output_tokens": _lengths(values["output"], values["spread"], 0, count, rng),
        "model": model if len(model) else rng.choice(models, count, p=shares),
        "tenant": rng.integers(0, int(values["tenants"]), count),
    }
    names = [f"model-{number}" for number in range(models)] if models > 1 else ["model"]
    tenants = [f"tenant-{number}" for number in range(int(values["tenants"]))]
    return trace_of(columns, models=names, tenants=tenants, span_us=span_us)


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


def _users(
    values: dict[str, float], shares: NDArray[np.float64], span_us: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Arrivals and their models, each model being asked on and off independently."""
    each = [_modulated(values, values["rate"] * share, span_us, rng) for share in shares.tolist()]
    arrival = np.concatenate(each)
    order = np.argsort(arrival, kind="stable")
    return arrival[order], np.repeat(np.arange(len(each)), [len(part) for part in each])[order]


def _modulated(values: dict[str, float], rate: float, span_us: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Unit-rate Poisson moments of the integral of the rate, taken back through it."""
    on, off, low, span_s = values["on"], values["off"], values["low"], span_us / 1e6
    high = rate * (on + off) / (on + low * off)
    begins_on = rng.random() < on / (on + off)
    ends, levels = [0.0], [0.0]
    while ends[-1] < span_s:  # in pieces, until the time is over
        pairs = int((span_s - ends[-1]) / (on + off) * 1.2) + 16
        means = np.tile([on, off] if begins_on else [off, on], pairs)
        heights = np.tile([high, low * high] if begins_on else [low * high, high], pairs)
        lasts = rng.exponential(means)
        ends += (ends[-1] + np.cumsum(lasts)).tolist()
        levels += (levels[-1] + np.cumsum(lasts * heights)).tolist()
    total = float(np.interp(span_s, ends, levels))
    moments = np.sort(rng.random(rng.poisson(total))) * total
    return np.minimum(np.interp(moments, levels, ends) * 1e6, span_us - 1).astype(np.int64)


def _lengths(mean: float, spread: float, least: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Lognormal with that mean: mu = ln(mean) - spread^2 / 2."""
    if mean <= 0:
        return np.full(count, least)
    drawn = rng.lognormal(np.log(mean) - spread**2 / 2, spread, count)
    return np.clip(np.round(drawn), least, 1_000_000).astype(np.int64)
