"""`headrace model`: versions on their way: deployed step by step, compared, promoted or taken back."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from headrace.cli.check import folder_of, text_of
from headrace.cli.dollars import dollars
from headrace.cli.shown import client, json_option, show, table
from headrace.errors import Invalid
from headrace.units import US_PER_S, duration_us

AT: Final = "/headrace/v1/rollouts"
_FILE = click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="A cloud file that has the version; the one in force, when not given.",
)


@click.group()
def command() -> None:
    """Roll a version of a model out, beside the one that serves."""


@command.command()
@click.argument("model", metavar="MODEL@VERSION")
@_FILE
@click.option("--first", type=click.IntRange(1, 100), default=5, show_default=True, help="Percent to begin with.")
@click.option("--manual", is_flag=True, help="Take no step by itself; a worse version still goes back by itself.")
@json_option
def deploy(model: str, file: Path | None, first: int, manual: bool, as_json: bool) -> None:
    """Give MODEL@VERSION a share of the traffic, more as it proves itself, none when it is worse."""
    _begin(model, file, {"first": first, "automatic": not manual}, as_json)


@command.command()
@click.argument("model", metavar="MODEL@VERSION")
@_FILE
@click.option("--percent", type=click.IntRange(1, 100), default=10, show_default=True, help="Of requests to copy.")
@click.option("--agree", type=click.IntRange(1, 100), help="Percent of agreement without which it is not promoted.")
@json_option
def shadow(model: str, file: Path | None, percent: int, agree: int | None, as_json: bool) -> None:
    """Copy requests to MODEL@VERSION and compare its answers with those given; nobody is answered or billed by it."""
    _begin(model, file, {"shadow": percent, "agree": agree or 0}, as_json)


@command.command()
@click.argument("model")
@click.option("--requests", type=click.IntRange(1, 1_000), default=1, show_default=True, help="How many will come.")
@click.option("--within", default="5m", show_default=True, help="By when, like 90s or 20m; an hour at most.")
@json_option
def warm(model: str, requests: int, within: str, as_json: bool) -> None:
    """Wake MODEL for requests that will come, and keep it awake until they have, or the time is over."""
    try:
        within_s = max(1, duration_us(within) // US_PER_S)
    except ValueError as error:
        raise Invalid(f"--within: {error}") from None
    found = client().post("/headrace/v1/expect", {"model": model, "requests": requests, "within_s": within_s})
    show(found, f"{found['model']} is kept awake for {requests} requests within {within}", as_json=as_json)


@command.command()
@click.argument("model")
@json_option
def promote(model: str, as_json: bool) -> None:
    """Give the version that is on its way all the traffic of MODEL."""
    _end(model, "promote", as_json)


@command.command()
@click.argument("model")
@json_option
def rollback(model: str, as_json: bool) -> None:
    """Give the versions before all the traffic of MODEL again."""
    _end(model, "rollback", as_json)


@command.command()
@click.argument("model", required=False)
@json_option
def status(model: str | None, as_json: bool) -> None:
    """Versions and weights of MODEL, or of all, and what is known of those on their way."""
    found = client().get(AT)
    if model is not None:
        found["models"] = [one for one in found["models"] if one["model"] == model]
        if not found["models"]:
            raise Invalid(f"there is no model {model}; see: headrace models", code="not_found", status=404)
    rows = [
        [f"{one['model']}@{v['version']}", v["weight"], v["ready"], "" if v["declared"] else "not in the cloud file"]
        for one in found["models"]
        for v in one["versions"]
    ]
    going = [_told(one["rollout"]) for one in found["models"] if one["rollout"]]
    text = "\n\n".join([table(["MODEL", "WEIGHT", "READY", ""], rows), *going])
    show(found, text, as_json=as_json)


def _begin(model: str, file: Path | None, wanted: dict[str, Any], as_json: bool) -> None:
    if "@" not in model:
        raise Invalid(f"{model!r} names no version; write it like {model}@v2; see: headrace model status {model}")
    if file is not None:
        wanted |= {"cloud": text_of(file), "filename": file.name, "folder": folder_of(file)}
    made = client().write(AT, {"model": model, **wanted})
    show(made, f"{_told(made)}\nfollow it with: headrace model status {made['model']}", as_json=as_json)


def _end(model: str, what: str, as_json: bool) -> None:
    made = client().write(f"{AT}/{quote(model, safe='')}/{what}", {})
    show(made, _told(made), as_json=as_json)


def _told(rollout: dict[str, Any]) -> str:
    """A rollout in words, and both versions in figures."""
    name = f"{rollout['model']}@{rollout['candidate']}"
    share = f"{rollout['shadow']} % copied" if rollout["shadow"] else f"{rollout['share']} %"
    head = f"{name} against {rollout['stable']}: {rollout['phase'].replace('_', ' ')}, {share}; {rollout['verdict']}"
    if not rollout["new"].get("requests"):
        return head
    heads = ["VERSION", "REQUESTS", "ERRORS", "LATE", "TTFT ms", "TOKENS", "COST / 1M TOKENS"]
    rows = [_figures(rollout["stable"], rollout["old"]), _figures(rollout["candidate"], rollout["new"])]
    return f"{head}\n{table(heads, rows)}"


def _figures(version: str, tally: dict[str, int]) -> list[object]:
    told = {name: tally.get(name, 0) for name in ("requests", "errors", "slow", "ttft_us", "ttfts", "tokens")}
    ttft = f"{told['ttft_us'] / told['ttfts'] / 1000:.0f}" if told["ttfts"] else "-"
    cost = dollars(tally.get("cost_nanousd", 0) * 10**6 // told["tokens"]) if told["tokens"] else "-"
    return [version, told["requests"], told["errors"], told["slow"], ttft, told["tokens"], cost]
