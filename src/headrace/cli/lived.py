"""What a running cloud was asked and how it ran, for the twin: its trace, its speeds, and figures to compare with."""

import csv
import dataclasses
import io
import time
from typing import Any

import msgspec
import numpy as np

from headrace.cli.dollars import dollars
from headrace.cli.shown import client
from headrace.economics.work import WorkModel
from headrace.errors import Invalid
from headrace.policy.performance import Measured
from headrace.twin.formats import tables
from headrace.twin.outcome import Outcome
from headrace.twin.trace import Trace


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lived:
    """A time of a cloud. `ttft_us` is of streams, by `name@version`, and by name where no version is known;
    `cost_nanousd` is by `name@version`, `measured` by that and pool.
    """

    trace: Trace
    from_us: int
    measured: dict[tuple[str, str], Measured]
    boots_us: dict[str, int]
    ttft_us: dict[str, list[int]]
    cost_nanousd: dict[str, int]

    def beside(self, outcome: Outcome) -> list[dict[str, Any]]:
        """Live and twin, figure by figure: each version beside itself, and those that are on one side beside nothing.

        First tokens of which no version is known stand beside the model's only version.
        """
        rows: list[dict[str, Any]] = []
        for model in outcome.models:
            name = model.name.partition("@")[0]
            alone = sum(other.name.partition("@")[0] == name for other in outcome.models) == 1
            seen = self.ttft_us.get(model.name) or (self.ttft_us.get(name, []) if alone else [])
            twin = (model.ttft.p50_us, model.ttft.p95_us) if model.served else None
            rows += _first_tokens(model.name, seen, twin)
            live = self.cost_nanousd.get(model.name, 0)
            rows.append(_row(model.name, "cost", dollars(live), dollars(model.cost_nanousd), live, model.cost_nanousd))
        there = {model.name for model in outcome.models}
        for key in sorted(self.ttft_us):
            if "@" in key and key not in there:
                rows += _first_tokens(key, self.ttft_us[key], None)
        return rows


def _first_tokens(model: str, seen: list[int], twin_us: tuple[int, int] | None) -> list[dict[str, Any]]:
    """Median and p95 of what was seen, beside the twin's where it has any."""
    rows = []
    for place, part in enumerate((50, 95) if seen else ()):
        live_us, figure = float(np.percentile(seen, part)), f"TTFT p{part}"
        shown = f"{live_us / 1000:.1f} ms"
        if twin_us is None:
            rows.append({"model": model, "figure": figure, "live": shown, "twin": "-", "off_by": "-"})
        else:
            rows.append(_row(model, figure, shown, f"{twin_us[place] / 1000:.1f} ms", live_us, twin_us[place]))
    return rows


def _row(model: str, figure: str, live: str, twin: str, live_value: float, twin_value: float) -> dict[str, Any]:
    off = f"{100 * (twin_value / live_value - 1):+.1f} %" if live_value else "-"
    return {"model": model, "figure": figure, "live": live, "twin": twin, "off_by": off}


def lived(length_us: int, skip_us: int = 0, end_us: int | None = None) -> Lived:
    """The last so many microseconds of this machine's cloud; of these, where it is said, only the part from `skip_us`
    to `end_us` after the first request. Raises Invalid when nobody asked for anything then.
    """
    to_us = time.time_ns() // 1000
    query = f"?from={to_us - length_us}&to={to_us}"
    cloud = client()
    text = cloud.text(f"/headrace/v1/trace{query}")
    remarks = [line for line in text.splitlines() if line.startswith("#")]
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    if not rows:
        raise Invalid("the ledger has no chat request in that time; choose a longer --last")
    trace = tables.read(io.BytesIO(text.encode()), "the ledger")
    told = (
        *trace.notes,
        *(f"{remark.removeprefix('#').strip()}: what they need is not simulated." for remark in remarks),
    )
    trace = dataclasses.replace(trace, notes=told)
    first_us = round(float(rows[0]["arrival_s"]) * 1_000_000)
    last_us = round(float(rows[-1]["arrival_s"]) * 1_000_000)
    if skip_us or end_us is not None:
        trace = trace.slice(skip_us, trace.span_us if end_us is None else end_us)
        if not len(trace):
            raise Invalid("the ledger has no chat request in that time; choose another --from and --to")
        first_us, last_us = first_us + skip_us, min(last_us, first_us + skip_us + trace.span_us - 1)
        rows = [row for row in rows if first_us <= round(float(row["arrival_s"]) * 1_000_000) <= last_us]
    history = cloud.get(f"/headrace/v1/history?from={first_us}&to={last_us + 1}")["models"]
    ttft: dict[str, list[int]] = {}
    for row in rows:
        if int(row["ttft_us"]):
            version = row.get("version")
            ttft.setdefault(f"{row['model']}@{version}" if version else row["model"], []).append(int(row["ttft_us"]))
    return Lived(
        trace=trace,
        from_us=first_us,
        measured={
            (key, pool): Measured(msgspec.convert(work, WorkModel), ran["slots"] * ran["context_tokens"])
            for key, ran in history.items()
            for pool, work in ran["work"].items()
            if work["samples"]
        },
        boots_us={key: ran["boot_us"] for key, ran in history.items() if ran["boot_us"]},
        ttft_us=ttft,
        cost_nanousd={key: ran["cost_nanousd"] for key, ran in history.items()},
    )
