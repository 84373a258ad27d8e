"""`headrace pool`: the devices there are, and notices that one will be taken away."""

from typing import Any
from urllib.parse import quote

import click

from headrace.cli.shown import client, json_option, show, table
from headrace.errors import Invalid
from headrace.units import US_PER_S, duration_us, format_bytes, format_us

AT = "/headrace/v1/pools"


@click.group()
def command() -> None:
    """The devices of each pool, and which of them will be taken away."""


@command.command("list")
@json_option
def list_pools(as_json: bool) -> None:
    """Every device, what replicas hold of it, and when it goes."""
    found = client().get(AT)
    heads = ["POOL", "NODE", "DEVICE", "MEMORY", "HELD", "NOTICE"]
    show(found, table(heads, [_row(one) for one in found["devices"]]), as_json=as_json)


@command.command()
@click.argument("pool")
@click.option("--device", default="", help="Which one; the only one, when not given.")
@click.option("--in", "within", help="How long until it is taken away, like 120s.")
@click.option("--back", is_flag=True, help="It stays, or can be had again.")
@json_option
def notice(pool: str, device: str, within: str | None, back: bool, as_json: bool) -> None:
    """Tell that a device of POOL will be taken away: replacements start at once, and what is there goes in time."""
    if back == (within is not None):
        raise Invalid("say --in, like --in 120s, or --back; one of them")
    said: dict[str, Any] = {"device": device, "back": True} if within is None else {"device": device}
    if within is not None:
        said["in_s"] = duration_us(within) / US_PER_S
    found = client().write(f"{AT}/{quote(pool, safe='')}/notice", said)
    place = f"{found['pool']}/{found['node']}/{found['device']}"
    left = found["goes_in_us"]
    text = f"{place} can be used" if left is None else f"{place} will be taken away in {format_us(left)}"
    show(found, text, as_json=as_json)


def _row(one: dict[str, Any]) -> list[object]:
    left = one["goes_in_us"]
    notice = "" if left is None else f"goes in {format_us(left)}" if left else "gone"
    sizes = format_bytes(one["memory_bytes"]), format_bytes(one["held_bytes"])
    return [one["pool"], one["node"], one["device"], *sizes, notice]
