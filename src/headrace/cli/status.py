"""`headrace status`: the cloud at a glance."""

import time
from typing import Any, Final

import click

from headrace.cli.dollars import dollars
from headrace.cli.shown import client, dot, json_option, show, table
from headrace.errors import HeadraceError
from headrace.sdk.client import Client
from headrace.units import format_bytes, format_us

_KINDS: Final = {"file": "files", "video.file": "videos", "response": "responses", "run": "results of runs"}


@click.command()
@json_option
def command(as_json: bool) -> None:
    """The cloud at a glance: models, replicas, gateways, requests so far, and what tenants keep."""
    api = client()
    found = api.get("/headrace/v1/status")
    found["storage"] = _storage(api)
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
    lines += _kept(found["storage"])
    lines += _hindsight(found.get("hindsight"))
    lines += [f"! {m['name']}@{m['version']}: {m['fault']}" for m in found["models"] if m["fault"]]
    lines += [f"! {hold['model']}: {hold['reason']}" for hold in found["holds"]]
    show(found, "\n".join(lines), as_json=as_json)


def _storage(api: Client) -> list[dict[str, Any]]:
    """What tenants keep; nothing where the runner is away."""
    try:
        kept: list[dict[str, Any]] = api.get("/headrace/v1/storage")["data"]
    except HeadraceError:
        return []
    return kept


def _kept(tenants: list[dict[str, Any]]) -> list[str]:
    """One line for each tenant that keeps anything."""
    lines = [
        f"tenant {one['tenant']} keeps {format_bytes(one['used_bytes'])} of {format_bytes(one['limit_bytes'])}: "
        + ", ".join(f"{_KINDS.get(kind, kind)} {format_bytes(size)}" for kind, size in sorted(one["by"].items()))
        for one in tenants
        if one["used_bytes"]
    ]
    return ["", *lines] if lines else []


def _hindsight(found: dict[str, Any] | None) -> list[str]:
    """Cost over optimum, once there was an hour to look back on."""
    if not found or not found["optimum_nanousd"]:
        return []
    from headrace.twin.against import label

    hours = (found["at_us"] - found["from_us"]) / 3.6e9
    of = label(found["models"], found["whole"])
    return [
        "",
        f"cost / optimum {found['ratio_ppm'] / 1e6:.2f} over {hours:.1f} h: {dollars(found['paid_nanousd'])} paid, "
        f"{dollars(found['optimum_nanousd'])} with perfect foresight ({of}); {found['on_time_ppm'] / 10_000:.1f} % of "
        f"first tokens on time ({', '.join(found['models'])})",
    ]
