"""`headrace models`: every model and its state."""

import click

from headrace.cli.shown import client, dot, json_option, show, table
from headrace.units import format_bytes, format_us

_READ = frozenset({"chat", "embed", "rerank"})  # tasks whose models have a context


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Every model version: its task, engine, state and how long it takes to wake."""
    found = client().get("/headrace/v1/models")
    rows = [
        [f"{m['name']}@{m['version']}", m["task"], m["engine"], dot(m["state"]),
         m["context_tokens"] if m["task"] in _READ else "-", format_bytes(m["memory_bytes"]),
         format_us(m["wake_us"]) if m["wake_us"] else "-"]
        for m in found["models"]
    ]  # fmt: skip
    heads = ["MODEL", "TASK", "ENGINE", "STATE", "CONTEXT", "MEMORY", "WAKES IN"]
    show(found, table(heads, rows), as_json=as_json)
