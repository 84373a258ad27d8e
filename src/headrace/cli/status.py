"""`headrace status`: the cloud at a glance."""

import time
from typing import Any

import click

from headrace.cli.dollars import dollars
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
    lines += _hindsight(found.get("hindsight"))
    lines += [f"! {m['name']}@{m['version']}: {m['fault']}" for m in found["models"] if m["fault"]]
    lines += [f"! {hold['model']}: {hold['reason']}" for hold in found["holds"]]
    show(found, "\n".join(lines), as_json=as_json)


def _hindsight(found: dict[str, Any] | None) -> list[str]:
    """Cost over optimum, once there was an hour to look back on."""
    if not found or not found["optimum_nanousd"]:
        return []
    hours = (found["at_us"] - found["from_us"]) / 3.6e9
    return [
        "",
        f"cost / optimum {found['ratio_ppm'] / 1e6:.2f} over {hours:.1f} h: {dollars(found['paid_nanousd'])} paid, "
        f"{dollars(found['optimum_nanousd'])} with perfect foresight; {found['on_time_ppm'] / 10_000:.1f} % of first "
        f"tokens on time ({', '.join(found['models'])})",
    ]
