"""`headrace logs`: the last lines of a replica."""

from urllib.parse import quote

import click

from headrace.cli.shown import client, json_option, show


@click.command()
@click.argument("replica")
@click.option("--tail", default=50, show_default=True, type=click.IntRange(1, 1000), help="How many lines.")
@json_option
def command(replica: str, tail: int, as_json: bool) -> None:
    """The last lines a replica printed."""
    found = client().get(f"/headrace/v1/replicas/{quote(replica, safe='')}/logs?tail={tail}")
    show(found, "\n".join(found["lines"]) or "it printed nothing", as_json=as_json)
