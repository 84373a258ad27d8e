"""`headrace budget`: what may be spent, by whom, and what happens then."""

from typing import Final
from urllib.parse import urlencode

import click

from headrace.cli.dollars import dollars, parsed, percent
from headrace.cli.shown import client, json_option, show, table

AT: Final = "/headrace/v1/budgets"
PERIODS: Final = click.Choice(["day", "month", "total"])


@click.group()
def command() -> None:
    """What a tenant, a team, a key or a model may spend, and what happens when that is used up."""


@command.command("show")
@json_option
def show_budgets(as_json: bool) -> None:
    """Every budget and what is left of it."""
    found = client().get(AT)
    heads = ["SCOPE", "PERIOD", "LIMIT", "SPENT", "", "HELD", "LEFT", "AT THE LIMIT"]
    rows = [
        [
            b["scope"],
            f"{b['period']} {b['name']}",
            dollars(b["limit_nanousd"]),
            dollars(b["spent_nanousd"]),
            percent(b["spent_nanousd"], b["limit_nanousd"]),
            dollars(b["held_nanousd"]),
            dollars(b["left_nanousd"]),
            b["at_limit"],
        ]
        for b in found["budgets"]
    ]
    text = table(heads, rows) if rows else "no budget is set; set one with: headrace budget set tenant:NAME DOLLARS"
    show(found, text, as_json=as_json)


@command.command("set")
@click.argument("scope")
@click.argument("amount", metavar="DOLLARS")
@click.option("--per", type=PERIODS, default="month", show_default=True, help="The time it is for, UTC.")
@click.option(
    "--at-limit",
    type=click.Choice(["refuse", "degrade", "notify"]),
    default="refuse",
    show_default=True,
    help="degrade: shorter answers while something is left.",
)
@click.option("--warn", type=click.IntRange(1, 100), multiple=True, help="Percent to be told at; repeat for more.")
@json_option
def set_budget(scope: str, amount: str, per: str, at_limit: str, warn: tuple[int, ...], as_json: bool) -> None:
    """Set the budget of SCOPE (tenant:NAME, team:TENANT/NAME, key:ID or model:NAME); in force when this returns."""
    wanted = {"scope": scope, "limit_nanousd": parsed(amount), "period": per, "at_limit": at_limit}
    found = client().write(AT, {**wanted, **({"warn_percent": warn} if warn else {})})
    left = f"{dollars(found['left_nanousd'])} of {dollars(found['limit_nanousd'])} left"
    show(found, f"{found['scope']} a {found['period']} ({found['name']}): {left}, then {at_limit}", as_json=as_json)


@command.command("remove")
@click.argument("scope")
@click.option("--per", type=PERIODS, default="month", show_default=True, help="The time it is for, UTC.")
@json_option
def remove_budget(scope: str, per: str, as_json: bool) -> None:
    """Remove a budget of SCOPE that was set here; those of the cloud file stand in it."""
    found = client().delete(f"{AT}?{urlencode({'scope': scope, 'period': per})}")
    show(found, f"{scope} has no budget a {per} any more", as_json=as_json)
