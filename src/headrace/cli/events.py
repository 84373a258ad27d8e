"""`headrace events`: what the cloud did and why."""

import time
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

import click

from headrace.cli.shown import client, json_option, show

POLL_S: Final = 1.0


@click.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many, the newest.")
@click.option("--subject", default="", help="Only those about this replica, key or catalog.")
@click.option("--follow", "-f", is_flag=True, help="Wait for more; with --json one object a line.")
@json_option
def command(limit: int, subject: str, follow: bool, as_json: bool) -> None:
    """What the cloud did and why, oldest of the newest first."""
    cloud = client()
    about = f"&subject={quote(subject, safe='')}" if subject else ""
    found = cloud.get(f"/headrace/v1/events?limit={limit}{about}")
    newest = list(reversed(found["events"]))
    if not follow:
        show(found, lines(newest) or "nothing has happened yet", as_json=as_json)
        return
    after = 0
    while True:
        for event in newest:
            show(event, lines([event]), as_json=as_json)
            after = max(after, event.get("seq", 0))
        time.sleep(POLL_S)
        path = (
            f"/headrace/v1/events?limit=1000&after={after}{about}" if after else f"/headrace/v1/events?limit=1{about}"
        )
        newest = cloud.get(path)["events"]


def lines(events: Iterable[dict[str, Any]]) -> str:
    """One line an event: when, what, about what, why."""
    return "\n".join(
        f"{time.strftime('%H:%M:%S', time.localtime(e['at_us'] / 1e6))}  {e['kind']:<16} {e['subject']}  {e['reason']}"
        for e in events
    )
