"""`headrace replicas`: every replica."""

import click

from headrace.cli.shown import client, dot, json_option, show, table
from headrace.units import format_bytes


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Every replica: its model, state, where it lives and how often it was restarted."""
    found = client().get("/headrace/v1/replicas")
    rows = [
        [r["id"], f"{r['model']}@{r['version']}", dot(r["phase"]),
         f"{r['node']}/{r['device']}" if r["device"] else r["node"], r["pid"] or "-", r["slots"], format_bytes(r["memory_bytes"]), r["restarts"], r["reason"]]
        for r in found["replicas"]
    ]  # fmt: skip
    heads = ["REPLICA", "MODEL", "STATE", "PLACE", "PID", "SLOTS", "MEMORY", "RESTARTS", "REASON"]
    text = table(heads, rows) if rows else "no replicas: every model is asleep until it is asked"
    show(found, text, as_json=as_json)
