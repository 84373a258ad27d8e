"""What runs of the twin came to, model by model and tenant by tenant, as a person reads it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from headrace.cli.dollars import dollars
from headrace.units import NANOUSD_PER_USD, US_PER_MINUTE, US_PER_S, format_us

if TYPE_CHECKING:
    from headrace.twin.latency import Latency
    from headrace.twin.outcome import ModelPart, Outcome, Part
    from headrace.twin.trace import Trace

LEAST_NANOUSD: Final = 100_000  # what is less is nothing that a person compares
TENANTS_SHOWN: Final = 10  # of each model
SPEED_HEADS: Final = ("TTFT P50", "P95", "P99", "KEPT", "TPOT P50", "P95", "P99", "KEPT")
CAUSE_HEADS: Final = ("AT WORK", "STARTING", "IDLE", "DRAINING", "ASLEEP")
_CAUSES: Final = ("work", "start", "idle", "drain", "sleep")


class Shown(NamedTuple):
    """A table with what it is of."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[object]]


def money(nanousd: int) -> str:
    """An amount that is compared with others; JSON has all of its digits.

    >>> money(0), money(1_580), money(850_000), money(12_345_678_901)
    ('-', '<$0.0001', '$0.0008', '$12.35')
    """
    if not nanousd:
        return "-"
    if nanousd < LEAST_NANOUSD:
        return "<$0.0001"
    return dollars(nanousd) if nanousd >= NANOUSD_PER_USD else f"${nanousd / NANOUSD_PER_USD:.4f}"


def share(ppm: int) -> str:
    """A part of all.

    >>> share(999_950)
    '99.99 %'
    """
    return f"{ppm // 100 / 100:.2f} %"


def refusals(count: int, too_long: int) -> str:
    """How many, and of them those with more tokens than their model's context.

    >>> refusals(3, 0), refusals(3, 2)
    ('3', '3 (2 too long)')
    """
    return f"{count} ({too_long} too long)" if too_long else f"{count}"


def speed(part: "Part | ModelPart", ttft: "Latency", tpot: "Latency") -> list[str]:
    """Both latencies of those who were served; nothing where nobody was."""
    if not part.served:
        return ["-", "-", "-", share(ttft.kept_ppm), "-", "-", "-", "-"]
    first = [f"{us / US_PER_S:.2f} s" for us in (ttft.p50_us, ttft.p95_us, ttft.p99_us)]
    each = [f"{us / 1000:.0f} ms" for us in (tpot.p50_us, tpot.p95_us, tpot.p99_us)]
    paced = [*each, share(tpot.kept_ppm)] if tpot.p99_us else ["-"] * 4
    return [*first, share(ttft.kept_ppm), *paced]


def header(trace: "Trace") -> str:
    """What the trace is, in a line."""
    summary = trace.summary()
    of_peak = ""
    if summary.span_us >= 2 * US_PER_MINUTE:
        of_peak = f", the busiest minute {summary.peak_over_mean:.1f} times that"
    often = f"{summary.rate:.2f}/s" if summary.rate >= 0.1 else f"{summary.rate * 3600:.1f} an hour"
    pace = f" ({often}{of_peak})" if summary.requests > 1 else ""
    return (
        f"simulated: {summary.requests} request{'s' * (summary.requests != 1)} in {format_us(summary.span_us)}{pace}, "
        f"{summary.input_mean:.0f} tokens in and {summary.output_mean:.0f} out on average"
    )


def tables(outcome: "Outcome") -> list[Shown]:
    """How each model's requests went, where its money went, and what its tenants had of it."""
    models = outcome.models
    if not models:
        return []
    found = [
        Shown(
            f"{outcome.name}, how requests went",
            ["MODEL", "REQUESTS", *SPEED_HEADS, "REFUSED", "FAILED", "STARTS", "WAKES", "PEAK", "AT WORK"],
            [_went(model) for model in models],
        ),
        Shown(
            f"{outcome.name}, where the money went",
            ["MODEL", "COST", *CAUSE_HEADS, "A MILLION TOKENS", "AN HOUR OF WORK"],
            [_paid(model) for model in models],
        ),
    ]
    tenants = [row for model in models if len(model.tenants) > 1 for row in _tenants(model)]
    if tenants:
        heads = ["MODEL", "TENANT", "REQUESTS", "SERVED", *SPEED_HEADS, "TIME AT WORK"]
        found.append(Shown(f"{outcome.name}, its tenants", heads, tenants))
    return found


def _went(model: "ModelPart") -> list[object]:
    latencies = speed(model, model.ttft, model.tpot)
    work = f"{model.utilisation_ppm / 10_000:.0f} %" if model.replica_us else "-"
    refused = refusals(model.refused, model.too_long)
    counts = [refused, model.failed, model.starts, model.wakes, model.peak_replicas]
    return [model.name, model.requests, *latencies, *counts, work]


def _paid(model: "ModelPart") -> list[object]:
    tokens = model.input_tokens + model.output_tokens
    return [
        model.name,
        money(model.cost_nanousd),
        *(money(model.causes_nanousd[cause]) for cause in _CAUSES),
        money(model.cost_nanousd * 1_000_000 // tokens) if tokens else "-",
        money(model.nanousd_per_useful_hour) if model.useful_us else "-",
    ]


def _tenants(model: "ModelPart") -> list[list[object]]:
    ordered = sorted(model.tenants, key=lambda tenant: -tenant.requests)
    rows: list[list[object]] = [
        [model.name, one.name, one.requests, one.served, *speed(one, one.ttft, one.tpot), money(one.cost_nanousd)]
        for one in ordered[:TENANTS_SHOWN]
    ]
    if rest := ordered[TENANTS_SHOWN:]:
        asked, served = sum(one.requests for one in rest), sum(one.served for one in rest)
        cost = money(sum(one.cost_nanousd for one in rest))
        rows.append([model.name, f"and {len(rest)} more", asked, served, *["-"] * len(SPEED_HEADS), cost])
    return rows
