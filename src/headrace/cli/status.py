"""`headrace status`: the cloud at a glance."""

import time

import click

from headrace.cli.shown import client, dot, json_option, show, table
from headrace.units import format_us


@click.command()
@json_option
def command(as_json: bool) -> None:
    """The cloud at a glance: models, replicas, gateways, requests so far."""
    found = client().get("/headrace/v1/status")
    up = format_us(time.time_ns() // 1_000 - found["up_since_us"])
    lines = [
        f"headrace {found['version']} on http://{found['listen']} · controller up {up} · catalog {found['revision']}",
        f"{len(found['gateways'])} gateways · {found['in_flight']} requests at work, {found['queued']} held · "
        f"{found['requests']} so far",
        "",
        table(
            ["MODEL", "TASK", "STATE", "REPLICAS", "AT WORK", "HELD"],
            [
                [f"{m['name']}@{m['version']}", m["task"], dot(m["state"]), f"{m['ready']} of {m['min']}..{m['max']}",
                 m["in_flight"], m["queued"]]
                for m in found["models"]
            ],
        ),
    ]  # fmt: skip
    lines += [f"! {m['name']}@{m['version']}: {m['fault']}" for m in found["models"] if m["fault"]]
    lines += [f"! {hold['model']}: {hold['reason']}" for hold in found["holds"]]
    show(found, "\n".join(lines), as_json=as_json)
