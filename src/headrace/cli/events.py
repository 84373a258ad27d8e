"""`headrace events`: what the cloud did and why."""

import time

import click

from headrace.cli.shown import client, json_option, show


@click.command()
@click.option("--limit", default=20, show_default=True, help="How many, the newest.")
@click.option("--subject", default="", help="Only those about this replica, key or catalog.")
@json_option
def command(limit: int, subject: str, as_json: bool) -> None:
    """What the cloud did and why, oldest of the newest first."""
    about = f"&subject={subject}" if subject else ""
    found = client().get(f"/headrace/v1/events?limit={limit}{about}")
    lines = [
        f"{time.strftime('%H:%M:%S', time.localtime(e['at_us'] / 1e6))}  {e['kind']:<16} {e['subject']}  {e['reason']}"
        for e in reversed(found["events"])
    ]
    show(found, "\n".join(lines) or "nothing has happened yet", as_json=as_json)
