"""The trace that a command is given: its options, which `simulate` and `plan` share, and how it is read."""

from collections.abc import Callable
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from headrace.errors import Invalid
from headrace.units import duration_us

if TYPE_CHECKING:
    from headrace.cli.lived import Lived
    from headrace.twin.trace import Trace

LEDGER: Final = "ledger"
LAST: Final = "1h"
SCALE_MAX: Final = 1000
BATCH_MAX: Final = 100_000

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--format", "form", help="Of the file, when it cannot be told from its first lines."),
    click.option("--last", help=f"With --trace ledger: so long until now.  [default: {LAST}]"),
    click.option("--from", "from_", help="From this time of the trace on, like 2h."),
    click.option("--to", help="Up to this time of the trace, like 12h."),
    click.option("--scale", type=float, default=1.0, show_default=True, help="So many times the trace's traffic."),
    click.option(
        "--scale-by",
        type=click.Choice(["clients", "thin"]),
        default="clients",
        show_default=True,
        help="Whole clients, whose bursts stay, or single requests, which calms them.",
    ),
    click.option("--batch", type=float, default=0.0, help="Batch requests beside it, as a percentage of its own."),
    click.option("--map", "maps", multiple=True, help="TRACE_MODEL=CLOUD_MODEL, where names differ; repeat for more."),
    click.option("--set", "sets", multiple=True, help="PLACE=VALUE of the cloud file, like pools.gpus.count=3."),
    click.option("--boot", default="30s", show_default=True, help="How long a replica takes to start."),
    click.option("--bill", default="0s", show_default=True, help="The shortest time a replica is billed for."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of all that is chance."),
)


def options(command: Command) -> Command:
    """The options that say which trace it is, and in which world."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read(source: str, given: dict[str, Any]) -> "tuple[Trace, Lived | None]":
    """The trace that was asked for, the part of it, more or less of it; and how a cloud ran meanwhile, where the trace
    is what this machine's cloud was asked. Raises Invalid.
    """
    from_us = duration(given["from_"] or "0s", "--from")
    to_us = duration(given["to"], "--to") if given["to"] else None
    if source == LEDGER:
        from headrace.cli.lived import lived

        found = lived(duration(given["last"] or LAST, "--last"), from_us, to_us)
        return _scaled(found.trace, given), found
    if given["last"]:
        raise Invalid("--last is for --trace ledger; take a part of another trace with --from and --to")
    from headrace.twin import load

    trace = load.load(source, given["form"], given["seed"])
    if given["from_"] or given["to"]:
        trace = trace.slice(from_us, trace.span_us if to_us is None else to_us)
    if not len(trace):
        raise Invalid("the trace has no request in that time; choose another --from and --to")
    return _scaled(trace, given), None


def _scaled(trace: "Trace", given: dict[str, Any]) -> "Trace":
    """More or less of a trace, and batch work beside it. Raises Invalid."""
    from headrace.twin import scale

    factor, part, seed = given["scale"], given["batch"] / 100, given["seed"]
    if not 0 < factor <= SCALE_MAX:
        raise Invalid(f"--scale is {factor:g}; give a number above 0, {SCALE_MAX} at most")
    if not isfinite(part) or not 0 <= given["batch"] <= BATCH_MAX:
        raise Invalid(f"--batch is {given['batch']:g}; give a percentage from 0 to {BATCH_MAX}")
    if factor != 1:
        if given["scale_by"] == "clients":
            trace = scale.scale_clients(trace, factor, seed)
        elif factor > 1:
            raise Invalid(f"--scale {factor:g} cannot be reached by leaving requests out; take --scale-by clients")
        else:
            trace = scale.thin(trace, factor, seed)
    return scale.with_batch(trace, part, seed) if part else trace


def mapped(given: dict[str, Any]) -> dict[str, str]:
    """TRACE_MODEL=CLOUD_MODEL. Raises Invalid for one that is not of that form."""
    for part in given["maps"]:
        if not all(part.partition("=")):
            raise Invalid(f"--map {part}: write it like gpt-4=chat, the trace's model first")
    return dict(part.split("=", 1) for part in given["maps"])


def machine() -> tuple[int, int]:
    """What `auto` stands for: memory and threads of this machine."""
    from headrace import assembly

    here = assembly.devices()[0]
    return here.memory_bytes, here.cpus


def duration(text: str, option: str) -> int:
    """Microseconds of what was typed. Raises Invalid that names the option."""
    try:
        return duration_us(text)
    except ValueError as error:
        raise Invalid(f"{option}: {error}") from None
