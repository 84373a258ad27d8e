"""Simulated rollouts in words: what a run is to roll out, its steps, both versions in figures, what it cost."""

from typing import TYPE_CHECKING, Any, Final

from headrace.cli.dollars import dollars
from headrace.cli.shown import table
from headrace.errors import Invalid
from headrace.units import US_PER_S, format_us

if TYPE_CHECKING:
    from headrace.twin.deployment import Deployment
    from headrace.twin.outcome import Outcome
    from headrace.twin.page import Table
    from headrace.twin.rolled import Copied, Rolled, Versioned

SETTING: Final = "rollout"
STEPS: Final = ("AT", "SHARE", "", "WHY")
COPIES: Final = ("COPIES", "ANSWERED", "FAILED", "UNDER WAY", "LEFT OUT", "FIRST P50", "ORIGINALS'", "TPOT P50",
                 "ORIGINALS'", "TOKENS", "ITS REPLICAS")  # fmt: skip
VERSIONS: Final = ("VERSION", "REQUESTS", "FAILED", "TTFT P50", "P95", "KEPT", "TPOT P50", "COST / 1M TOKENS")


def parted(changes: tuple[str, ...]) -> tuple[list[str] | None, tuple[str, ...]]:
    """Rollouts that a variant has, None where it says nothing of them, and its other changes.

    What follows `rollout=` and names no place of the cloud file is said of that rollout; `rollout=none` has none.

    >>> parted(("rollout=chat@v2", "at=10m", "pools.gpus.count=3"))
    (['chat@v2,at=10m'], ('pools.gpus.count=3',))
    """
    found: list[str] = []
    rest: list[str] = []
    for change in changes:
        name, _, value = change.partition("=")
        if name == SETTING:
            found.append(value)
        elif found and "." not in name:
            found[-1] += f",{change}"
        else:
            rest.append(change)
    if found == ["none"]:
        return [], tuple(rest)
    if any(one.partition(",")[0] == "none" for one in found):
        raise Invalid("rollout=none has no rollout; give nothing more of one beside it")
    return found or None, tuple(rest)


def deployments(wanted: list[str]) -> "tuple[Deployment, ...]":
    """As typed. Raises Invalid."""
    from headrace.twin.deployment import parse

    return tuple(map(parse, wanted))


def text(outcomes: "list[Outcome]") -> list[str]:
    """Lines about each rollout of each run."""
    lines = []
    for about, heads, rows in tables(outcomes):
        lines += ["", about, table(heads, rows)]
    cost = [row["text"] for row in beside(outcomes)]
    return [*lines, "", *cost] if cost else lines


def tables(outcomes: "list[Outcome]") -> "list[Table]":
    """Of each rollout its steps, and both versions in figures."""
    found: list[Table] = []
    for outcome in outcomes:
        for one in outcome.rollouts:
            head = f"{outcome.name}: {one.model}@{one.candidate} against {one.stable}: {told(one)}"
            found.append((head, STEPS, steps(one)))
            found.append((f"{outcome.name}: requests that came meanwhile", VERSIONS, versions(one)))
            if one.copied is not None:
                found.append(
                    (
                        f"{outcome.name}: copies, beside their originals (first tokens from sending on)",
                        COPIES,
                        [copies(one.copied)],
                    )
                )
    return found


def told(one: "Rolled") -> str:
    """What became of it, and when."""
    return f"{one.verdict} (at {format_us(one.ended_us)} of the trace)" if one.ended_us else one.verdict


def steps(one: "Rolled") -> list[list[str]]:
    """When, how much of the traffic from then on, and why."""
    percent = one.copied.percent if one.copied else 0
    return [
        [
            format_us(step.at_us),
            f"{percent} % copied" if step.phase == "shadow" else f"{step.share} %",
            step.phase.replace("_", " "),
            step.reason,
        ]
        for step in one.steps
    ]


def copies(one: "Copied") -> list[str]:
    """A shadow in figures: how many copies, and those answered beside the requests they are copies of."""
    out = ", ".join(f"{count} ({why})" for why, count in one.left_out.items()) or "0"
    paced = [
        *(f"{part.ttft.p50_us / US_PER_S:.2f} s" for part in (one.pace, one.original)),
        *(f"{part.tpot.p50_us / 1000:.0f} ms" for part in (one.pace, one.original)),
        f"{one.pace.tokens / one.original.tokens:.2f} times" if one.original.tokens else "-",
    ]
    counts = [f"{count}" for count in (one.made, one.answered, one.failed, one.under_way)]
    return [*counts, out, *(paced if one.pairs else ["-"] * len(paced)), dollars(one.cost_nanousd)]


def versions(one: "Rolled") -> list[list[str]]:
    """Both versions while it was under way."""
    return [_version(version) for version in one.versions]


def _version(one: "Versioned") -> list[str]:
    cost = one.nanousd_per_million
    served = [
        *(f"{us / US_PER_S:.2f} s" for us in (one.ttft.p50_us, one.ttft.p95_us)),
        f"{one.ttft.kept_ppm / 10_000:.2f} %",
        f"{one.tpot.p50_us / 1000:.0f} ms",
    ]
    told_of = served if one.served else ["-"] * len(served)
    return [one.version, f"{one.requests}", f"{one.failed}", *told_of, "-" if cost is None else dollars(cost)]


def beside(outcomes: "list[Outcome]") -> list[dict[str, Any]]:
    """What each run with a rollout cost, beside the first that has none, where there is one."""
    without = next((outcome for outcome in outcomes if not outcome.rollouts), None)
    rows = []
    for outcome in outcomes if without is not None else ():
        if outcome.rollouts:
            assert without is not None, "as the loop has it"
            more = outcome.cost_nanousd - without.cost_nanousd
            part = f" ({100 * more / without.cost_nanousd:+.1f} %)" if without.cost_nanousd else ""
            words = f"{dollars(abs(more))} {'more' if more >= 0 else 'less'} than {without.name}, without it{part}"
            what = "shadow" if all(one.copied for one in outcome.rollouts) else "rollout"
            line = f"{outcome.name}: with the {what} it cost {words}"
            rows.append({"run": outcome.name, "without": without.name, "cost_nanousd": more, "text": line})
    return rows
