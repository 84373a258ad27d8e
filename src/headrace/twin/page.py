"""A simulated run as one HTML page: tables, plots and the log of decisions, without a script and without a network."""

import html
import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from headrace.twin.latency import outputs_of, rows_of
from headrace.twin.outcome import CAUSES, ModelPart, Outcome
from headrace.twin.world import SERVED, World
from headrace.units import US_PER_HOUR, US_PER_S

POINTS: Final = 300
FIRST_MIN_S: Final = 0.001  # a first token within less is drawn there
LOG_MAX: Final = 500
INK: Final = "#010203"  # drawn in the colour of the page's text, which is light on dark where the reader has it so
Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]  # its title, heads, rows
_CSS: Final = """
:root{color-scheme:light dark;--text:#1a1a1a;--page:#fff;--line:#ddd;--told:#fff3c4}
@media(prefers-color-scheme:dark){:root{--text:#e4e4e4;--page:#16181c;--line:#3a3d44;--told:#4a3d10}}
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:var(--text);
background:var(--page)}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem;overflow-wrap:anywhere}
.wide{overflow-x:auto}
table{border-collapse:collapse;min-width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .5rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-size:12px}td{font-size:14px}
th:first-child,td:first-child{text-align:left}
td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:6.5rem;max-width:18rem}
@media(max-width:50rem){td:first-child{max-width:8rem}}
.banner{background:var(--told);padding:.5rem 1rem;border-left:4px solid #d9a400}
figure{margin:0}svg{width:100%;min-width:40rem;height:auto;display:block}
.log td{text-align:left;vertical-align:top;font-size:13px}.log td:last-child{white-space:normal;min-width:24rem}
"""


def page(title: str, tables: Sequence[Table], runs: Sequence[tuple[World, Outcome]], told: Sequence[str] = ()) -> str:
    """The page of some runs; the first is plotted. The first table needs no title, and what is `told` stands below."""
    world, first = runs[0]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        '<p class="banner">Simulated: both brains of Headrace over a trace in virtual time; '
        "replicas, their speed and their starts are a model.</p>",
    ]
    for place, (name, heads, rows) in enumerate(tables):
        parts += [f"<h2>{html.escape(name)}</h2>" if place else "", _table(heads, rows)]
        parts += [] if place else [f"<p>{html.escape(line)}</p>" for line in told if line]
    for model in first.models:
        parts += [f"<h2>{html.escape(model.name)}: replicas and work</h2>", _fleet(world, model.name)]
        parts += [f"<h2>{html.escape(model.name)}: time to first token</h2>", _latencies(world, model)]
    parts += ["<h2>Where the money went</h2>", _costs(runs)]
    if first.notes:
        parts += ["<h2>About the trace</h2>", "".join(f"<p>{html.escape(note)}</p>" for note in first.notes)]
    parts += ["<h2>Decisions</h2>", _log(world)]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_CSS}</style><body>{''.join(parts)}</body></html>\n"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]], kind: str = "") -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide {kind}"><table><tr>{head}</tr>{body}</table></div>'


def _axes(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(10, 3.2), layout="constrained", facecolor="none")
    axes = figure.add_subplot(facecolor="none")
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(which="both", color=INK, labelcolor=INK)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(INK)
    return figure, axes


def _svg(figure: Figure, told: str) -> str:
    """The drawing as part of a page; `told` is read out where it cannot be seen."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    drawn = out.getvalue()
    svg = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    return f'<figure class="wide" role="img" aria-label="{html.escape(told)}">{svg}</figure>'


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
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, ncols=3, labelcolor=INK)
    return _svg(figure, f"replicas of {key} and arriving work over time")


def _latencies(world: World, model: ModelPart) -> str:
    """The part of requests that had their first token within a time, and the time that was promised."""
    key, promised_s = model.name, model.ttft.objective_us / US_PER_S
    served = rows_of(world, key) & (np.frombuffer(world.fate, np.uint8) == SERVED)
    took = np.frombuffer(world.first_us, np.int64)[served] - world.scenario.trace.arrival_us[served]
    figure, axes = _axes("seconds to the first token", "% of requests")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
    if len(took):
        parts = np.linspace(0, 99.9, 400)
        axes.plot(np.maximum(FIRST_MIN_S, np.percentile(took, parts) / US_PER_S), parts, label="requests")
    axes.axvline(promised_s, color=INK, lw=1, ls="--", label=f"promised: {promised_s:g} s")
    axes.legend(frameon=False, labelcolor=INK)
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
    axes.legend(frameon=False, ncols=len(CAUSES), labelcolor=INK)
    return _svg(figure, "where the money of each run went")


def _log(world: World) -> str:
    shown = world.log[:LOG_MAX]
    rows = [(_clock(at), *words) for at, *words in shown]
    more = f"<p>and {len(world.log) - LOG_MAX} more</p>" if len(world.log) > LOG_MAX else ""
    return _table(["AT", "WHAT", "OF", "WHY"], rows, "log") + more


def _clock(at_us: int) -> str:
    """Time since the beginning of the trace.

    >>> _clock(3_661_500_000)
    '1:01:01.5'
    """
    minutes, tenths = divmod(at_us * 10 // US_PER_S, 600)
    return f"{minutes // 60}:{minutes % 60:02}:{tenths / 10:04.1f}"
