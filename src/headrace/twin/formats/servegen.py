"""ServeGen's clients: rates and lengths of windows of time, of which requests are drawn by seed.

A file of rates has a row for each client and window of 600 s with traffic: `model`, `client`, `t_s`, `rate` (requests
a second) and `cv` (of the gaps). A file of lengths beside it, with `lengths` for `rates` in its name, has for clients,
6 h and field (`input_tokens`, `output_tokens`) the `mean` and 15 quantiles `q000` to `q100`. Parquet, or CSV of the
same columns. Source: alibaba/ServeGen (Apache-2.0), its chunk files put in one table.

Arrivals of a window are a renewal process in equilibrium with Gamma gaps of mean 1/rate and that cv; the shapes fitted
there (Weibull in a fifth of the windows) are not used. With `share` p below 1 each client is thinned: rate p, and
1 + p (cv^2 - 1) for cv^2. Lengths follow the quantiles, straight between them and stretched to the mean, input and
output independently. A client without lengths has the median curve of its model.
"""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Invalid, Permanent
from headrace.twin.formats.columns import blocks
from headrace.twin.trace import ROWS_MAX, SPAN_MAX_US, TOKENS_MAX, Trace, trace_of
from headrace.twin.values import values_of
from headrace.units import US_PER_S

WINDOW_S: Final = 600
DAY_S: Final = 86_400
SLOT_S: Final = 6 * 3600
RATE_MAX: Final = 1e5
CV_LIMITS: Final = (0.1, 20.0)  # beyond them the gaps of a window are no sample of anything
LEVELS: Final = np.array([0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 100]) / 100
QUANTILES: Final = tuple(f"q{round(level * 100):03d}" for level in LEVELS)
RATES: Final = ("client", "t_s", "rate", "cv")
LENGTHS: Final = ("client", "t_s", "mean", *QUANTILES)
DEFAULTS: Final = {"from": 0.0, "days": 0.0, "share": 1.0, "seed": 0.0}
LIMITS: Final = {"from": (0, 3660), "days": (0, 3660), "share": (1e-6, 1), "seed": (0, 2**31)}
FIX: Final = "pip install -r requirements/parquet.txt"

Table = dict[str, Any]  # columns of equal length; `model` and `field` are lists of str


def parse(text: str) -> tuple[str, dict[str, float]]:
    """The path and the values of `PATH,from=DAY,days=N,share=PART,seed=N`. Raises Invalid.

    >>> parse("rates.parquet,days=1")[1]["days"]
    1.0
    """
    path, *parts = text.split(",")
    return path, values_of(parts, DEFAULTS, LIMITS, "servegen")


def read(path: str, values: Mapping[str, float] = DEFAULTS, seed: int = 0) -> Trace:
    """Requests drawn from a file of rates and its file of lengths; equal values and seeds make equal traces.

    Raises Invalid for files that are not there or not of this kind, and where more than ROWS_MAX requests are expected;
    Permanent where the files are Parquet and pyarrow is missing.
    """
    rates, lengths = _table(path, RATES), _table(_beside(path), LENGTHS)
    _checked(rates, path)
    from_s = int(values["from"] * DAY_S)
    last_s = int(rates["t_s"].max()) + WINDOW_S
    to_s = from_s + int(values["days"] * DAY_S) if values["days"] else last_s
    within = (rates["t_s"] >= from_s) & (rates["t_s"] + WINDOW_S <= to_s) & (rates["rate"] > 0)
    rates = {name: np.asarray(column)[within] for name, column in rates.items()}
    expected = float(rates["rate"].sum()) * WINDOW_S * values["share"]
    if not 0 < expected <= ROWS_MAX * 0.98:
        raise Invalid(
            f"{expected:.0f} requests are expected from day {values['from']:g} on, and must be 1 to {ROWS_MAX}; write "
            f"servegen:{path},from=0,days=1,share=0.1 with other figures",
            where=path,
        )
    rng = np.random.default_rng(int(values["seed"]) or seed)
    clients = [
        f"{model}/client-{client:.0f}" for model, client in zip(rates["model"], rates["client"].tolist(), strict=True)
    ]
    arrival, row = _arrivals(rates, from_s, values["share"], rng)
    if not len(arrival):
        raise Invalid("no request was drawn; raise share or days", where=path)
    order = np.argsort(arrival, kind="stable")
    arrival, row = arrival[order], row[order]
    tenants, tenant = np.unique(clients, return_inverse=True)
    models, model = np.unique(rates["model"], return_inverse=True)
    columns: dict[str, Any] = {"arrival_us": arrival, "model": model[row], "tenant": tenant[row]}
    notes = []
    for field in ("input_tokens", "output_tokens"):
        curves = _Curves(lengths, field, path)
        columns[field] = curves.draw(rates, row, rng)
        notes += [f"{curves.unknown} of {len(tenants)} clients have no {field}; the median of the model was taken."]
    return trace_of(
        columns,
        models=models.tolist(),
        tenants=tenants.tolist(),
        span_us=(min(to_s, last_s) - from_s) * US_PER_S,
        notes=[note for note in notes if not note.startswith("0 of")],
        source=path,
    )


def _beside(path: str) -> str:
    name = Path(path).name
    beside = str(Path(path).with_name(name.replace("rates", "lengths")))
    if "rates" not in name or not Path(beside).exists():
        raise Invalid(
            f"the lengths that belong to {name} are not there; put both in one folder, named alike but for `rates` and "
            "`lengths`",
            where=path,
        )
    return beside


def _table(path: str, numbers: tuple[str, ...]) -> Table:
    """These columns as float64, and `model` (and `field`, of lengths) as str. Raises Invalid, Permanent."""
    try:
        with Path(path).open("rb") as file:
            packed = file.read(4)
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}", status=404) from None
    texts = ("model", "field") if numbers is LENGTHS else ("model",)
    return _parquet(path, texts, numbers) if packed == b"PAR1" else _csv(path, texts, numbers)


def _parquet(path: str, texts: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise Permanent(f"Parquet needs pyarrow, which is not installed; install it with: {FIX}") from None
    try:
        table = parquet.read_table(path, columns=[*texts, *numbers])
        missing = [name for name in (*texts, *numbers) if name not in table.column_names]
        if missing:
            raise Invalid(f"it has no column {', '.join(missing)}; give ServeGen's rates and lengths", where=path)
        found: Table = {name: np.array(table[name].to_pylist(), np.str_) for name in texts}
        return found | {name: table[name].cast("float64").to_numpy() for name in numbers}
    except (pyarrow.ArrowException, OSError) as error:
        raise Invalid(f"this is no Parquet file of ServeGen's: {error}", where=path) from None


def _csv(path: str, texts: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    with gzip.open(path) if path.endswith(".gz") else Path(path).open("rb") as file:
        heading = [name.strip() for name in file.readline().decode("utf-8-sig", "replace").split(",")]
        missing = [name for name in (*texts, *numbers) if name not in heading]
        if missing:
            raise Invalid(
                f"it has no column {', '.join(missing)}; give ServeGen's rates and lengths", where=f"{path}:1"
            )
        parts: dict[str, list[Any]] = {name: [] for name in (*texts, *numbers)}
        known: dict[str, dict[str, int]] = {name: {} for name in texts}
        for block in blocks(file, path, len(heading), line=2):  # type: ignore[arg-type]  # read as bytes
            for name in texts:
                places = block.names(heading.index(name), name, known[name])
                parts[name].append(np.array(list(known[name]), np.str_)[places])
            for name in numbers:
                parts[name].append(block.decimals(heading.index(name), name, unit=10**6) / 1e6)
    if not parts["model"]:
        raise Invalid("there is no row in this table; choose another file", where=path)
    return {name: np.concatenate(part) for name, part in parts.items()}


def _checked(rates: Table, path: str) -> None:
    """Raises Invalid for the first row that is off; what lacks a cv (NaN, one request in its window) is Poisson."""
    limits = {"client": (0, 1e9), "t_s": (0, SPAN_MAX_US / US_PER_S), "rate": (0, RATE_MAX), "cv": (0, 1e6)}
    if not len(rates["t_s"]):
        raise Invalid("there is no row in this table; choose another file", where=path)
    rates["cv"] = np.nan_to_num(rates["cv"], nan=1.0)
    for name, (low, high) in limits.items():
        bad = ~((rates[name] >= low) & (rates[name] <= high))
        if bad.any():
            row = int(np.argmax(bad))
            raise Invalid(
                f"row {row}: {name} is {rates[name][row]}, and must be from {low:g} to {high:g}; correct it",
                param=name,
                where=path,
            )


def _arrivals(
    rates: Table, from_s: int, share: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Moments from `from_s` on in microseconds, and the row of `rates` each comes from."""
    moments: list[NDArray[np.float64]] = []
    cvs = np.clip(np.sqrt(np.maximum(1 + share * (rates["cv"] ** 2 - 1), 0)), *CV_LIMITS)
    for t_s, rate, cv in zip(rates["t_s"].tolist(), (rates["rate"] * share).tolist(), cvs.tolist(), strict=True):
        moments.append(t_s - from_s + _window(rate, cv, rng))
    row = np.repeat(np.arange(len(moments)), [len(part) for part in moments])
    return np.floor(np.concatenate(moments) * US_PER_S).astype(np.int64), row


def _window(rate: float, cv: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Moments in [0, WINDOW_S). The first gap is a uniform part of a length-biased one, Gamma(shape + 1), so that the
    mean count is rate x WINDOW_S exactly.
    """
    shape = 1 / cv**2
    scale = cv**2 / rate
    found = [np.array([rng.gamma(shape + 1, scale) * rng.random()])]
    while found[-1][-1] < WINDOW_S:
        more = int((WINDOW_S - found[-1][-1]) * rate * 1.2 + 4 * cv + 8)
        found.append(found[-1][-1] + np.cumsum(rng.gamma(shape, scale, more)))
    moments = np.concatenate(found)
    return moments[moments < WINDOW_S]


class _Curves:
    """Quantiles of one field, by client and slot; `unknown` counts clients that have none once `draw` was called."""

    def __init__(self, lengths: Table, field: str, path: str) -> None:
        rows = lengths["field"] == field
        if not rows.any():
            raise Invalid(f"the lengths have no rows of {field}; give ServeGen's lengths", where=path)
        self._curves = np.stack([lengths[name][rows] for name in QUANTILES], axis=1)
        bad = ~((self._curves >= 0) & (self._curves <= TOKENS_MAX)).all(axis=1)
        bad = bad | ~(np.diff(self._curves, axis=1) >= 0).all(axis=1)
        if bad.any():
            raise Invalid(
                f"the {field} of client {lengths['client'][rows][bad][0]:g} are not from 0 to {TOKENS_MAX} and rising "
                "from q000 to q100; correct or remove that row of the lengths",
                where=path,
            )
        drawn = ((self._curves[:, 1:] + self._curves[:, :-1]) / 2 * np.diff(LEVELS)).sum(axis=1)
        mean = lengths["mean"][rows]
        self._stretch = np.where((drawn > 0) & (mean > 0), mean / np.maximum(drawn, 1e-9), 1.0)
        slots = (lengths["t_s"][rows] // SLOT_S).astype(int).tolist()
        keys = list(zip(lengths["model"][rows].tolist(), lengths["client"][rows].tolist(), strict=True))
        self._at = {(key, slot): place for place, (key, slot) in enumerate(zip(keys, slots, strict=True))}
        self._of: dict[Any, list[int]] = {}
        for place, key in enumerate(keys):
            self._of.setdefault(key, []).append(place)
            self._of.setdefault(key[0], []).append(place)
            self._of.setdefault(None, []).append(place)
        self.unknown = 0

    def draw(self, rates: Table, row: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """A length for each request, by its row of `rates`."""
        keys = list(zip(rates["model"].tolist(), rates["client"].tolist(), strict=True))
        slots = (rates["t_s"] // SLOT_S).astype(int).tolist()
        more: list[NDArray[np.float64]] = []
        stretches: list[float] = []
        medians: dict[Any, int] = {}
        at = np.empty(len(keys), np.int64)
        for number, (key, slot) in enumerate(zip(keys, slots, strict=True)):
            place = self._at.get((key, slot), -1)
            if place < 0:
                who = next(name for name in (key, key[0], None) if name in self._of)
                if who not in medians:
                    medians[who] = len(self._curves) + len(more)
                    more.append(np.median(self._curves[self._of[who]], axis=0))
                    stretches.append(float(np.median(self._stretch[self._of[who]])))
                place = medians[who]
            at[number] = place
        self.unknown = len({key for key in keys if key not in self._of})
        curves = np.vstack([self._curves, *more])
        stretch = np.r_[self._stretch, stretches]
        height = rng.random(len(row))
        step = np.searchsorted(LEVELS, height, side="right") - 1
        low, high = curves[at[row], step], curves[at[row], step + 1]
        part = (height - LEVELS[step]) / (LEVELS[step + 1] - LEVELS[step])
        drawn = (low + part * (high - low)) * stretch[at[row]]
        found: NDArray[np.int64] = np.clip(np.round(drawn), 0, TOKENS_MAX).astype(np.int64)
        return found
