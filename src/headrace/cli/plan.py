"""`headrace plan`: the least that a trace can cost, on which pools, and how far the policies are from it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli import planned_shown
from headrace.cli.check import BUILT_IN, folder_of, text_of
from headrace.cli.shown import json_option, show
from headrace.cli.traced import duration, machine, mapped, options, read
from headrace.errors import Invalid

if TYPE_CHECKING:
    from headrace.cli.lived import Lived
    from headrace.specs.catalog import Catalog
    from headrace.twin.scenario import Scenario
    from headrace.twin.trace import Trace


@click.command()
@click.argument("cloud", required=False, type=click.Path(path_type=Path))
@click.option("--trace", "source", required=True, help="A file, generate:KIND,NAME=VALUE,... or ledger.")
@options
@click.option("--missed", type=float, default=1.0, show_default=True, help="Percent of the work that need not be done.")
@click.option("--no-simulation", is_flag=True, help="Only the bound: do not run the twin beside it.")
@click.option("--mix", is_flag=True, help="Which devices for which lengths of which models, for every hour.")
@click.option("--room", type=float, default=25.0, show_default=True, help="With --mix: percent more than is asked.")
@click.option("--exclusive", is_flag=True, help="One request a device at a time: the exact optimum of a long tail.")
@click.option("--swap", help="With --exclusive: another model on a device that is up; as --boot when not given.")
@click.option("--window", help="Cost over the least for each stretch of this length, like 6h.")
@json_option
def command(cloud: Path | None, source: str, as_json: bool, **given: Any) -> None:
    """The least CLOUD can cost for a trace: the mix of pools that a fleet which knows the future would run."""
    import msgspec

    from headrace.specs.load import load_text
    from headrace.twin.variants import changed

    if not 0 <= given["missed"] < 100:
        raise Invalid(f"--missed is {given['missed']}; give percent from 0 to less than 100")
    if sum(bool(given[name]) for name in ("mix", "exclusive", "window")) > 1:
        raise Invalid("--mix, --exclusive and --window answer different questions; ask one at a time")
    trace, lived = read(source, given)
    text = changed(text_of(cloud or BUILT_IN), given["sets"])
    catalog = load_text(text, str(cloud or BUILT_IN.name), machine(), folder_of(cloud) if cloud else "")
    if given["mix"]:
        found, shown = _mix(catalog, trace, given, lived)
    elif given["exclusive"]:
        found, shown = _exclusive(_scenario(catalog, trace, given, lived), given)
    elif given["window"]:
        found, shown = _windows(_scenario(catalog, trace, given, lived), given)
    else:
        found, shown = _fleet(_scenario(catalog, trace, given, lived), given)
    show(msgspec.to_builtins(found), shown, as_json=as_json)


def _scenario(catalog: "Catalog", trace: "Trace", given: dict[str, Any], lived: "Lived | None") -> "Scenario":
    from headrace.twin.scenario import Options, scenario

    world = Options(
        boot_us=duration(given["boot"], "--boot"),
        boots_us=lived.boots_us if lived else {},
        billing_min_us=duration(given["bill"], "--bill"),
        seed=given["seed"],
        wall_us=lived.from_us if lived else 0,
    )
    measured = lived.measured if lived else None
    made = scenario(catalog, trace, measured=measured, names=mapped(given), options=world)
    for note in made.trace.notes:
        click.echo(note, err=True)
    return made


def _fleet(scenario: "Scenario", given: dict[str, Any]) -> tuple[Any, str]:
    from headrace.twin.plans import planned

    found = planned(scenario, missed=given["missed"] / 100, simulate=not given["no_simulation"])
    return found, planned_shown.fleet(found)


def _mix(catalog: "Catalog", trace: "Trace", given: dict[str, Any], lived: "Lived | None") -> tuple[Any, str]:
    from headrace.twin.mixes import mixed

    if not 0 <= given["room"] <= 1000:
        raise Invalid(f"--room is {given['room']:g}; give percent from 0 to 1000")
    measured = lived.measured if lived else None
    found = mixed(catalog, trace, names=mapped(given), room=given["room"] / 100, measured=measured)
    for note in found.notes:
        click.echo(note, err=True)
    return found, planned_shown.mix(found)


def _exclusive(scenario: "Scenario", given: dict[str, Any]) -> tuple[Any, str]:
    from headrace.twin.tails import tailed

    swap_us = duration(given["swap"] or given["boot"], "--swap")
    found = tailed(scenario, swap_us=swap_us, simulate=not given["no_simulation"])
    return found, planned_shown.tail(found)


def _windows(scenario: "Scenario", given: dict[str, Any]) -> tuple[Any, str]:
    from headrace.twin.windows import windows
    from headrace.twin.world import World

    length_us = duration(given["window"], "--window")
    world = World(scenario)
    world.run()
    found = windows(world, length_us, missed=given["missed"] / 100)
    return {"windows": found}, planned_shown.by_window(found)
