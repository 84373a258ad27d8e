"""A simulated run as one HTML page: tables, plots and the log of decisions, without a script and without a network."""

import html
import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from headrace.twin.latency import outputs_of, rows_of
from headrace.twin.outcome import CAUSES, Outcome
from headrace.twin.world import SERVED, World
from headrace.units import US_PER_HOUR, US_PER_S

POINTS: Final = 300
LOG_MAX: Final = 500
_CSS: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}
.banner{background:#fff3c4;padding:.5rem 1rem;border-left:4px solid #d9a400}
svg{width:100%;height:auto}.log td{text-align:left;vertical-align:top;font-size:13px}
"""


Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]  # what it is about, its heads, its rows


def page(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    runs: Sequence[tuple[World, Outcome]],
    told: Sequence[str] = (),
    tables: Sequence[Table] = (),
) -> str:
    """The page of some runs; the first is plotted. What is `told` stands below the table, and then other tables."""
    world, first = runs[0]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        '<p class="banner">Simulated: both brains of Headrace over a trace in virtual time; '
        "replicas, their speed and their starts are a model.</p>",
        _table(heads, rows),
        *(f"<p>{html.escape(line)}</p>" for line in told if line),
    ]
    for about, their_heads, their_rows in tables:
        parts += [f"<h2>{html.escape(about)}</h2>", _table(their_heads, their_rows)]
    for model in first.models:
        parts += [f"<h2>{html.escape(model.name)}: replicas and work</h2>", _fleet(world, model.name)]
        parts += [f"<h2>{html.escape(model.name)}: time to first token</h2>", _latencies(world, model.name)]
    parts += ["<h2>Where the money went</h2>", _costs(runs)]
    if first.notes:
        parts += ["<h2>About the trace</h2>", "".join(f"<p>{html.escape(note)}</p>" for note in first.notes)]
    parts += ["<h2>Decisions</h2>", _log(world)]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_CSS}</style><body>{''.join(parts)}</body></html>\n"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _axes(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure, told: str) -> str:
    """The drawing as part of a page; `told` is read out where it cannot be seen."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    drawn = out.getvalue()
    svg = drawn[drawn.index("<svg") :]
    return f'<figure role="img" aria-label="{html.escape(told)}">{svg}</figure>'


def _fleet(world: World, key: str) -> str:
    """Replicas there and ready, and the work that arrived in seconds a second, over time."""
    trace, rate, end_us = world.scenario.trace, world.scenario.rates.get(key), max(1, world.now_us)
    changes = [(at / US_PER_HOUR, have, ready) for at, name, have, ready in world.counts if name == key]
    figure, axes = _axes("hours", "replicas")
    if rate is not None:
        mine, outputs = rows_of(world, key), outputs_of(world, key.partition("@")[2])
        edges = np.linspace(0, end_us, POINTS + 1)
        work_ns = rate.fixed_ns + trace.input_tokens * float(rate.input_ns) + outputs * float(rate.output_ns)
        summed, _ = np.histogram(trace.arrival_us[mine], edges, weights=work_ns[mine] / 1000)
        axes.fill_between(edges[:-1] / US_PER_HOUR, summed / (end_us / POINTS), step="post", alpha=0.25, label="work")
    if changes:
        hours, have, ready = zip(*changes, (end_us / US_PER_HOUR, *changes[-1][1:]), strict=True)
        axes.step(hours, have, where="post", lw=1, label="replicas")
        axes.step(hours, ready, where="post", lw=1, label="ready")
    axes.legend(frameon=False, ncols=3)
    return _svg(figure, f"replicas of {key} and arriving work over time")


def _latencies(world: World, key: str) -> str:
    """The part of requests that had their first token within a time."""
    served = rows_of(world, key) & (np.frombuffer(world.fate, np.uint8) == SERVED)
    took = np.frombuffer(world.first_us, np.int64)[served] - world.scenario.trace.arrival_us[served]
    figure, axes = _axes("seconds to the first token", "% of requests")
    if len(took):
        parts = np.linspace(0, 99.9, 400)
        axes.plot(np.percentile(took, parts) / US_PER_S, parts)
    return _svg(figure, f"how many requests of {key} had their first token within a time")


def _costs(runs: Sequence[tuple[World, Outcome]]) -> str:
    figure, axes = _axes("dollars", "")
    names = [outcome.name for _, outcome in runs]
    left = np.zeros(len(runs))
    for cause in CAUSES:
        sums = [sum(model.causes_nanousd[cause] for model in outcome.models) / 1e9 for _, outcome in runs]
        axes.barh(names, sums, left=left, label=cause)
        left += sums
    axes.invert_yaxis()
    axes.legend(frameon=False, ncols=len(CAUSES))
    return _svg(figure, "where the money of each run went")


def _log(world: World) -> str:
    shown = world.log[:LOG_MAX]
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in (f"{at / US_PER_S:.1f} s", *words)) + "</tr>"
        for at, *words in shown
    )
    more = f"<p>and {len(world.log) - LOG_MAX} more</p>" if len(world.log) > LOG_MAX else ""
    return f'<table class="log">{rows}</table>{more}'
