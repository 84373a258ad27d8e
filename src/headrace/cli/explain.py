"""`headrace explain`: why a request or a replica went as it did, and why a model stands where it does."""

from urllib.parse import quote

import click

from headrace.cli.shown import client, json_option, show


@click.command()
@click.argument("subject", metavar="REQUEST_ID|last|REPLICA|MODEL", default="last")
@json_option
def command(subject: str, as_json: bool) -> None:
    """Why a request was routed, held, refused or cut, a replica started or stopped, or a model stands where it does."""
    found = client().get(f"/headrace/v1/explain/{quote(subject, safe='')}")
    show(found, "\n".join([found["id"], *(f"  {line}" for line in found["text"])]), as_json=as_json)
