"""`headrace simulate`: what a cloud would do with a trace, and what it would cost, before it is done."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli import rolled
from headrace.cli.check import BUILT_IN, folder_of, text_of
from headrace.cli.dollars import dollars
from headrace.cli.shown import json_option, show, table
from headrace.cli.simulated_shown import header, money, refusals, speed, tables
from headrace.cli.traced import LEDGER, duration, machine, mapped, options, read
from headrace.errors import Invalid
from headrace.units import format_us

if TYPE_CHECKING:
    from headrace.cli.lived import Lived
    from headrace.twin.outcome import Outcome
    from headrace.twin.scenario import Options
    from headrace.twin.trace import Trace
    from headrace.twin.world import Progress, World

HEADS = ["RUN", "COST", "OF THE LEAST", "A DAY", "TTFT P50", "P95", "P99", "KEPT", "TPOT P50", "KEPT", "REFUSED",
         "FAILED", "STARTS", "PEAK", "AT WORK"]  # fmt: skip
OPTIMUM_SLOTS = 20_000  # of a model and pool; with more cost over the least is told when it is asked for
ROUND_MIN_US = 10_000  # each is a look at the whole fleet


@click.command()
@click.argument("cloud", required=False, type=click.Path(path_type=Path))
@click.option("--trace", "source", required=True, help="A file, generate:KIND,NAME=VALUE,... or ledger.")
@click.option("--compare", is_flag=True, help="With --trace ledger: what really happened, beside it.")
@options
@click.option(
    "--vs",
    "variants",
    multiple=True,
    help="PLACE=VALUE[,...], policy=NAME, api.MODEL=PROVIDER/MODEL or rollout=..., run beside.",
)
@click.option(
    "--rollout",
    "rollouts",
    multiple=True,
    help="MODEL@VERSION[,at=10m,first=5,manual,speed=0.8,errors=1%,output=1.3,boot=90s]: roll it out meanwhile; with "
    "shadow=10% copy requests to it instead.",
)
@click.option("--policy", default="headrace", show_default=True, help="Who sizes: headrace, knative, hpa:N, ray, ...")
@click.option("--round", "every", default="5s", show_default=True, help="How often the slow brain looks.")
@click.option(
    "--warm",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Replicas of each model there at the beginning.",
)
@click.option("--mtbf-hours", type=float, default=0.0, help="Mean hours between failures of a replica; 0 is never.")
@click.option(
    "--optimum/--no-optimum",
    default=None,
    help="Cost over the least it could have; unasked up to a week of one model on one pool.",
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with plots to this file.")
@json_option
def command(
    cloud: Path | None, source: str, variants: tuple[str, ...], html: Path | None, as_json: bool, **given: Any
) -> None:
    """Run CLOUD (the built-in one when not given) over a trace in virtual time, with the code that decides."""
    import msgspec

    if given["compare"] and source != LEDGER:
        raise Invalid("--compare is for --trace ledger: what else happened is not known here")
    _check(given, html)
    trace, lived = read(source, given)
    text = text_of(cloud or BUILT_IN)
    wanted = _wanted(given, variants)
    runs: list[tuple[World, Outcome]] = []
    for run in wanted:
        runs.append(_run(run, text, cloud, trace, given, lived))
        if runs[-1][1].partial:
            break
    runs = _judged(runs, given["optimum"])
    rows = [_row(outcome) for _, outcome in runs]
    compared = lived.beside(runs[0][1]) if lived and given["compare"] else []
    if html is not None:
        from headrace.twin.page import page

        title, of = f"{cloud or 'the built-in cloud'} over {source}", [outcome for _, outcome in runs]
        shown = [("", HEADS, rows), *(one for outcome in of for one in tables(outcome)), *rolled.tables(of)]
        html.write_text(page(title, shown, runs, [_of_the_least(outcome) for outcome in of]))
    outcomes = [outcome for _, outcome in runs]
    found = {
        "simulated": True,
        "runs": [msgspec.to_builtins(outcome) for outcome in outcomes],
        "compared": compared,
        "rollouts": rolled.beside(outcomes),
    }
    text = _text(trace, outcomes, html)
    if compared:
        text += "\n\n" + table(["MODEL", "FIGURE", "LIVE", "TWIN", "OFF BY"], [list(row.values()) for row in compared])
    show(found, text, as_json=as_json)
    if runs[-1][1].partial:
        if missing := ", ".join(run.name for run in wanted[len(runs) :]):
            click.echo(f"not begun: {missing}", err=True)
        raise click.Abort


def _check(given: dict[str, Any], html: Path | None) -> None:
    """What would show only when it is late, or never. Raises Invalid."""
    if html is not None and not os.access(html if html.exists() else html.absolute().parent, os.W_OK):
        raise Invalid(f"--html: {html} cannot be written; choose a folder that is there and may be written to")
    if not 0 <= given["mtbf_hours"] < inf:
        raise Invalid(f"--mtbf-hours is {given['mtbf_hours']:g}; give hours of 0 or more, 0 for no failures")
    if duration(given["every"], "--round") < ROUND_MIN_US:
        raise Invalid(f"--round is {given['every']}; give {ROUND_MIN_US // 1000}ms or more")


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: what it sets in the cloud file, who sizes, and what is rolled out meanwhile."""

    name: str
    sets: tuple[str, ...]
    policy: str
    rollouts: list[str]


def _wanted(given: dict[str, Any], variants: tuple[str, ...]) -> list[Run]:
    """Every run, the one as given first."""
    from headrace.twin.variants import parts

    sets, policy, rollouts = given["sets"], given["policy"], list(given["rollouts"])
    found = [Run(policy if policy != "headrace" else "as given", sets, policy, rollouts)]
    for variant in variants:
        changes = parts(variant)
        chosen = [change.partition("=")[2] for change in changes if change.startswith("policy=")]
        rest = tuple(change for change in changes if not change.startswith("policy="))
        others, rest = rolled.parted(rest)
        theirs = rollouts if others is None else others
        found.append(Run(variant, (*sets, *rest), chosen[-1] if chosen else policy, theirs))
    return found


def _run(
    run: Run, text: str, cloud: Path | None, trace: "Trace", given: dict[str, Any], lived: "Lived | None"
) -> "tuple[World, Outcome]":
    from headrace.policy import baselines
    from headrace.specs.load import load_text
    from headrace.twin import bought
    from headrace.twin.outcome import outcome
    from headrace.twin.scenario import mapped as named_by
    from headrace.twin.scenario import scenario
    from headrace.twin.variants import changed
    from headrace.twin.world import World

    sizing = baselines.named(run.policy)
    if sizing is None:
        raise Invalid(f"no policy is called {run.policy!r}; there are {', '.join(baselines.NAMES)}")
    folder = folder_of(cloud) if cloud else ""
    apis, sets = bought.chosen(run.sets)
    catalog = load_text(changed(text, sets), str(cloud or BUILT_IN.name), machine(), folder)
    maps = mapped(given)
    names = named_by(trace, catalog, maps)
    trace, theirs = bought.part(trace, names, apis)
    receipts = bought.bill(theirs, names, apis, _prices(list(apis.values())))
    options = _options(given, [m.key for m in catalog.models if m.weight], lived)
    options = dataclasses.replace(options, deployments=rolled.deployments(run.rollouts))
    measured = lived.measured if lived else None
    made = scenario(catalog, trace, sizing=sizing, measured=measured, names=maps, options=options)
    partial, name = False, run.name
    with _progress(name, len(trace)) as progress:
        world = World(made, progress)
        try:
            world.run()
        except KeyboardInterrupt:
            partial = True
            click.echo(f"\n{name}: interrupted; what follows is about its first {format_us(world.now_us)}", err=True)
    return world, bought.beside(outcome(world, name, partial=partial), receipts)


def _judged(runs: "list[tuple[World, Outcome]]", wanted: bool | None) -> "list[tuple[World, Outcome]]":
    """The runs with cost over the least, where it is wanted or soon found; nothing of what was interrupted."""
    from headrace.twin.least import Leasts

    whole = [world.scenario for world, outcome in runs if not outcome.partial]
    if wanted is False or not whole:
        return runs
    leasts = Leasts(whole)
    if wanted is None and leasts.size > OPTIMUM_SLOTS:
        return runs
    return [(world, outcome if outcome.partial else leasts.beside(world.scenario, outcome)) for world, outcome in runs]


def _of_the_least(outcome: "Outcome") -> str:
    """What a run's cost is held against; nothing where it was not asked for."""
    from headrace.twin.against import label

    of = outcome.optimum
    if of is None:
        return ""
    if of.least_nanousd is None:
        return f"{outcome.name}: no least cost; {of.why}"
    times = f"{of.ratio_ppm / 1e6:.2f} " if of.ratio_ppm is not None else ""
    return (
        f"{outcome.name}: {times}{label([model.name for model in outcome.models], of.whole)} "
        f"({dollars(of.least_nanousd)}, which may miss {of.missed_ppm / 10_000:g} % of the work)"
    )


def _prices(names: list[str]) -> dict[str, dict[str, int]]:
    """Unit prices of closed APIs. Raises Invalid for one that nobody knows."""
    from headrace import assembly

    found = assembly.api_prices(names) if names else {}
    for name, price in found.items():
        if "units" not in price:
            raise Invalid(f"{name}: {price['error']}")
    return {name: price["units"] for name, price in found.items()}


def _options(given: dict[str, Any], keys: list[str], lived: "Lived | None") -> "Options":
    from headrace.twin.scenario import Options

    return Options(
        boot_us=max(1, duration(given["boot"], "--boot")),  # 0 is "not ready yet"
        billing_min_us=duration(given["bill"], "--bill"),
        round_us=duration(given["every"], "--round"),
        mtbf_hours=given["mtbf_hours"],
        seed=given["seed"],
        warm=dict.fromkeys(keys, given["warm"]),
        boots_us=lived.boots_us if lived else {},
        wall_us=lived.from_us if lived else 0,
    )


@contextlib.contextmanager
def _progress(name: str, count: int) -> "Iterator[Progress]":
    """A bar on a terminal, silence elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, of: None  # noqa: ARG005 - nobody looks on
        return
    with click.progressbar(length=count, label=name, file=sys.stderr) as bar:
        yield lambda done, of: bar.update(done - bar.pos)  # noqa: ARG005 - the bar knows how many there are


def _bought(run: str, one: dict[str, Any]) -> str:
    return (
        f"{run}: {one['requests']} requests of {one['name']} at {one['api']} cost {dollars(one['cost_nanousd'])}; how "
        "long it takes there is not known"
    )


def _row(outcome: "Outcome") -> list[str]:
    """One run in a line; latencies are those of the model that is asked most."""
    paid = [money(nanousd) for nanousd in (outcome.cost_nanousd, outcome.nanousd_per_day)]
    of = outcome.optimum
    paid.insert(1, f"{of.ratio_ppm / 1e6:.2f}" if of is not None and of.ratio_ppm is not None else "-")
    if not outcome.models:  # all of it is bought elsewhere
        return [outcome.name, *paid, *["-"] * (len(HEADS) - 1 - len(paid))]
    most = max(outcome.models, key=lambda model: model.requests)
    names = ("refused", "too_long", "failed")
    refused, too_long, failed = (sum(getattr(model, what) for model in outcome.models) for what in names)
    replica_us = sum(model.replica_us for model in outcome.models)
    work_us = sum(model.replica_us * model.utilisation_ppm for model in outcome.models) / 1_000_000
    return [
        outcome.name + (" (interrupted)" if outcome.partial else ""),
        *paid,
        *(cell for at, cell in enumerate(speed(most, most.ttft, most.tpot)) if at not in (5, 6)),
        refusals(refused, too_long),
        f"{failed}",
        f"{sum(model.starts for model in outcome.models)}",
        f"{sum(model.peak_replicas for model in outcome.models)}",
        f"{100 * work_us / replica_us:.0f} %" if replica_us else "-",
    ]


def _text(trace: "Trace", outcomes: "list[Outcome]", html: Path | None) -> str:
    lines = [
        header(trace),
        *(f"  {note}" for note in dict.fromkeys(note for outcome in outcomes for note in outcome.notes)),
        "",
        table(HEADS, [_row(outcome) for outcome in outcomes]),
        *(["", *told] if (told := [line for line in map(_of_the_least, outcomes) if line]) else []),
    ]
    for shown in tables(outcomes[0]):
        lines += ["", f"{shown.title}:", table(shown.heads, shown.rows)]
    for outcome in outcomes:
        lines += [
            f"{outcome.name}: {model.batch_served} of {model.batch} batch requests of {model.name} served; an hour of "
            f"useful work cost {dollars(model.nanousd_per_useful_hour)}"
            for model in outcome.models
            if model.batch
        ]
        lines += ["", *(_bought(outcome.name, one) for one in outcome.bought)] if outcome.bought else []
    lines += rolled.text(outcomes)
    if html is not None:
        lines += ["", f"plots and decisions: {html}"]
    return "\n".join(lines)
