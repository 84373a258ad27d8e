"""`headrace replicas`: every replica."""

from typing import Any

import click

from headrace.cli.shown import client, dot, json_option, show, table
from headrace.units import format_bytes


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Every replica: its model, state, where it lives and how often it was restarted."""
    found = client().get("/headrace/v1/replicas")
    heads = ["REPLICA", "MODEL", "STATE", "POOL", "PLACE", "PID", "SLOTS", "MEMORY", "RESTARTS", "REASON"]
    rows = [_row(replica) for replica in found["replicas"]]
    text = table(heads, rows) if rows else "no replicas: every model is asleep until it is asked"
    show(found, text, as_json=as_json)


def _row(r: dict[str, Any]) -> list[object]:
    place = f"{r['node']}/{r['device']}" if r["device"] else r["node"]
    model, held = f"{r['model']}@{r['version']}", r["kept_bytes"] if r["phase"] == "asleep" else r["memory_bytes"]
    memory = format_bytes(held)
    where = r["pool"] or "-", place
    return [r["id"], model, dot(r["phase"]), *where, r["pid"] or "-", r["slots"], memory, r["restarts"], r["reason"]]
