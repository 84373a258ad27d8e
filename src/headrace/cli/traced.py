"""The trace that a command is given: its options, which `simulate` and `plan` share, and how it is read."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headrace.errors import Invalid
from headrace.units import duration_us

if TYPE_CHECKING:
    from headrace.twin.trace import Trace

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--format", "form", help="Of the file, when it cannot be told from its first lines."),
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


def read_trace(source: str, given: dict[str, Any]) -> "Trace":
    """The trace that was asked for, or the part of it, more or less of it. Raises Invalid."""
    from headrace.twin import load

    trace = load.load(source, given["form"], given["seed"])
    if given["from_"] or given["to"]:
        from_us = duration(given["from_"] or "0s", "--from")
        trace = trace.slice(from_us, duration(given["to"], "--to") if given["to"] else trace.span_us)
    if not len(trace):
        raise Invalid("the trace has no request in that time; choose another --from and --to")
    return scaled(trace, given)


def scaled(trace: "Trace", given: dict[str, Any]) -> "Trace":
    """More or less of a trace, and batch work beside it. Raises Invalid."""
    from headrace.twin import scale

    factor, part, seed = given["scale"], given["batch"] / 100, given["seed"]
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
