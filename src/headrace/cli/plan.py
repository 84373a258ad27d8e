"""`headrace plan`: the least that a trace can cost, on which pools, and how far the policies are from it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.check import BUILT_IN, folder_of, text_of
from headrace.cli.dollars import dollars
from headrace.cli.shown import json_option, show, table
from headrace.cli.simulate import duration, machine, read_trace
from headrace.errors import Invalid

if TYPE_CHECKING:
    from headrace.twin.plans import Planned


@click.command()
@click.argument("cloud", required=False, type=click.Path(path_type=Path))
@click.option("--trace", "source", required=True, help="A file, or generate:KIND,NAME=VALUE,...; see docs/simulate.md.")
@click.option("--format", "form", help="Of the file, when it cannot be told from its first lines.")
@click.option("--from", "from_", help="From this time of the trace on, like 2h.")
@click.option("--to", help="Up to this time of the trace, like 12h.")
@click.option("--map", "maps", multiple=True, help="TRACE_MODEL=CLOUD_MODEL, where names differ; repeat for more.")
@click.option("--boot", default="30s", show_default=True, help="How long a replica takes to start.")
@click.option("--bill", default="0s", show_default=True, help="The shortest time a replica is billed for.")
@click.option("--missed", type=float, default=1.0, show_default=True, help="Percent of the work that need not be done.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of a generated trace.")
@click.option("--no-simulation", is_flag=True, help="Only the bound: do not run the twin beside it.")
@json_option
def command(cloud: Path | None, source: str, no_simulation: bool, missed: float, as_json: bool, **given: Any) -> None:
    """The least CLOUD can cost for a trace: the mix of pools that a fleet which knows the future would run."""
    import msgspec

    from headrace.specs.load import load_text
    from headrace.twin.plans import planned
    from headrace.twin.scenario import Options, scenario

    if not 0 <= missed < 100:
        raise Invalid(f"--missed is {missed}; give percent from 0 to less than 100")
    trace = read_trace(source, given)
    folder = folder_of(cloud) if cloud else ""
    catalog = load_text(text_of(cloud or BUILT_IN), str(cloud or BUILT_IN.name), machine(), folder)
    maps = dict(part.split("=", 1) for part in given["maps"] if "=" in part)
    options = Options(
        boot_us=duration(given["boot"], "--boot"), billing_min_us=duration(given["bill"], "--bill"), seed=given["seed"]
    )
    made = scenario(catalog, trace, names=maps, options=options)
    found = planned(made, missed=missed / 100, simulate=not no_simulation)
    show(msgspec.to_builtins(found), _text(found), as_json=as_json)


def _text(found: "Planned") -> str:
    heads = ["MODEL", "POOLS", "LEAST COST", "REPLICA HOURS", "OF THE BEST"]
    rows = [
        [
            one.model,
            ", ".join(one.hours) if one.cheapest else next(iter(one.hours)),
            dollars(one.nanousd) if one.nanousd is not None else one.why,
            ", ".join(f"{name} {hours:.1f}" for name, hours in one.hours.items() if one.nanousd is not None),
            f"{one.nanousd / found.least_of(one.model):.2f}" if one.nanousd is not None else "-",
        ]
        for one in found.choices
    ]
    lines = [
        table(heads, rows),
        "",
        f"least cost of all: {dollars(found.nanousd)}; with whole replicas {dollars(found.whole_nanousd)} or less",
    ]
    if found.simulated_nanousd is not None:
        lines.append(
            f"simulated with Headrace's policy: {dollars(found.simulated_nanousd)}, "
            f"{found.simulated_nanousd / max(1, found.nanousd):.2f} times the least; first tokens in time: "
            + ", ".join(f"{name} {ppm / 10_000:.2f} %" for name, ppm in found.kept_ppm.items())
        )
    return "\n".join(lines)
