"""A simulated run as one HTML page: tables, plots and the log of decisions, without a script and without a network."""

import html
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pygal
from pygal.style import CleanStyle

from headrace.twin.outcome import CAUSES, Outcome
from headrace.twin.world import SERVED, World
from headrace.units import US_PER_HOUR, US_PER_S

POINTS: Final = 300
LOG_MAX: Final = 500
_SCRIPT: Final = re.compile(r"<script\b.*?</script>", re.DOTALL)
_CSS: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}
.banner{background:#fff3c4;padding:.5rem 1rem;border-left:4px solid #d9a400}
svg{width:100%;height:auto}.log td{text-align:left;vertical-align:top;font-size:13px}
"""


def page(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], runs: Sequence[tuple[World, Outcome]]) -> str:
    """The page of some runs; the first is plotted."""
    world, first = runs[0]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        '<p class="banner">Simulated: both brains of Headrace over a trace in virtual time; '
        "replicas, their speed and their starts are a model.</p>",
        _table(heads, rows),
    ]
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


def _chart(kind: Any, **more: Any) -> Any:
    style = CleanStyle(font_family="system-ui, sans-serif", background="transparent", plot_background="transparent")
    return kind(style=style, js=[], width=1000, height=320, show_dots=False, legend_at_bottom=True, **more)


def _svg(chart: Any) -> str:
    drawn: str = chart.render(is_unicode=True, disable_xml_declaration=True)
    return _SCRIPT.sub("", drawn)  # it would only show tips under a mouse


def _fleet(world: World, key: str) -> str:
    """Replicas there and ready, and the work that arrived in seconds a second, over time."""
    trace, rate = world.scenario.trace, world.scenario.rates.get(key)
    end_us = max(1, world.now_us)
    edges = np.linspace(0, end_us, POINTS + 1)
    changes = [(at, have, ready) for at, name, have, ready in world.counts if name == key]
    times = [at for at, _, _ in changes]
    places = np.searchsorted(times, edges[:-1], side="right") - 1
    chart = _chart(pygal.XY, x_title="hours", include_x_axis=True)
    hours = edges[:-1] / US_PER_HOUR
    chart.add("replicas", [(float(h), changes[p][1] if p >= 0 else 0) for h, p in zip(hours, places, strict=True)])
    chart.add("ready", [(float(h), changes[p][2] if p >= 0 else 0) for h, p in zip(hours, places, strict=True)])
    if rate is not None:
        mine = np.isin(trace.model, [at for at, name in enumerate(world.scenario.names) if key.startswith(f"{name}@")])
        work_us = (
            rate.fixed_ns + trace.input_tokens * float(rate.input_ns) + trace.output_tokens * float(rate.output_ns)
        ) / 1e3
        summed, _ = np.histogram(trace.arrival_us[mine], edges, weights=work_us[mine])
        chart.add("work", [(float(h), float(w / (end_us / POINTS))) for h, w in zip(hours, summed, strict=True)])
    return _svg(chart)


def _latencies(world: World, key: str) -> str:
    """The part of requests that had their first token within a time."""
    trace = world.scenario.trace
    mine = np.isin(trace.model, [at for at, name in enumerate(world.scenario.names) if key.startswith(f"{name}@")])
    served = mine & (np.frombuffer(world.fate, np.uint8) == SERVED)
    took = (np.frombuffer(world.first_us, np.int64)[served] - trace.arrival_us[served]) / US_PER_S
    chart = _chart(pygal.XY, x_title="seconds", y_title="% of requests", range=(0, 100))
    if len(took):
        parts = np.linspace(0, 99.9, 200)
        chart.add(
            "served within", [(float(x), float(y)) for x, y in zip(np.percentile(took, parts), parts, strict=True)]
        )
    return _svg(chart)


def _costs(runs: Sequence[tuple[World, Outcome]]) -> str:
    chart = _chart(pygal.StackedBar, y_title="dollars")
    chart.x_labels = [outcome.name for _, outcome in runs]
    for cause in CAUSES:
        sums = [sum(model.causes_nanousd[cause] for model in outcome.models) / 1e9 for _, outcome in runs]
        chart.add(cause, sums)
    return _svg(chart)


def _log(world: World) -> str:
    shown = world.log[:LOG_MAX]
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in (f"{at / US_PER_S:.1f} s", *words)) + "</tr>"
        for at, *words in shown
    )
    more = f"<p>and {len(world.log) - LOG_MAX} more</p>" if len(world.log) > LOG_MAX else ""
    return f'<table class="log">{rows}</table>{more}'
