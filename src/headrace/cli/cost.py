"""`headrace cost`: what it cost and why, by whom and for what, and what it would have cost elsewhere."""

import csv
import io
import json
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

from headrace import units
from headrace.cli.dollars import dollars, percent
from headrace.cli.shown import client, json_option, show, table
from headrace.errors import Invalid, Permanent

AT: Final = "/headrace/v1/cost"
DIMENSIONS: Final = ("tenant", "team", "key", "model", "version", "task", "unit", "hour")


def span_options(command: Any) -> Any:
    """--from, --to and --last."""
    command = click.option("--from", "from_", help="From this day on: YYYY-MM-DD, UTC.")(command)
    command = click.option("--to", help="Before this day.")(command)
    return click.option("--last", help="Instead: so long until now, like 24h or 7d; 7d when nothing is said.")(command)


def query(from_: str | None, to: str | None, last: str | None, **more: object) -> str:
    """The query of a time."""
    given: dict[str, object] = {name: value for name, value in more.items() if value not in (None, "")}
    if last and (from_ or to):
        raise Invalid("--last says a whole time; leave --from and --to away, or it")
    if last:
        try:
            length_us = units.duration_us(last)
        except ValueError as error:
            raise Invalid(str(error)) from None
        given["from"] = time.time_ns() // 1000 - length_us
    given |= {name: value for name, value in (("from", from_), ("to", to)) if value}
    return f"?{urlencode(given)}" if given else ""


@click.group()
def command() -> None:
    """What it cost and why, by whom and for what; forecasts, exports, and the proof that the books are right."""


@command.command()
@json_option
def now(as_json: bool) -> None:
    """What runs now costs an hour, and what the last hour came to."""
    found = client().get(f"{AT}/statement{query(None, None, '1h')}")
    lines = [f"{pool:<16} {dollars(rate)} an hour" for pool, rate in found["rates"].items()]
    show(found, "\n".join([*lines, "", *_statement(found)]), as_json=as_json)


@command.command()
@click.argument("dimensions", nargs=-1, type=click.Choice(DIMENSIONS), required=True)
@span_options
@json_option
def by(dimensions: tuple[str, ...], as_json: bool, **span: Any) -> None:
    """Charges and costs by DIMENSIONS, like: headrace cost by tenant model."""
    found = client().get(f"{AT}{query(**span, by=','.join(dimensions))}")
    rows = found["rows"]
    has_cost = any("cost_nanousd" in row for row in rows)
    what = "AMOUNT" if "unit" in dimensions else "REQUESTS"
    heads = [*(word.upper() for word in dimensions), what, "CHARGED", *(["COST", "MARGIN"] if has_cost else [])]
    shown = [
        [
            *(_dimension(row, word) for word in dimensions),
            row["amount"],
            dollars(row["charge_nanousd"]),
            *([dollars(row["cost_nanousd"]), dollars(row["charge_nanousd"] - row["cost_nanousd"])] if has_cost else []),
        ]
        for row in rows
    ]
    text = table(heads, shown) if rows else "nothing was used in that time"
    if rows and has_cost:
        booked = time.strftime("%H:%M:%S UTC", time.gmtime(found["booked_until_us"] // 1_000_000))
        text += f"\n\ncosts are booked until {booked}; what ended later has its charge here and not yet its cost"
    show(found, text, as_json=as_json)


def _dimension(row: dict[str, Any], word: str) -> str:
    if word == "hour":
        return time.strftime("%Y-%m-%d %H:00", time.gmtime(row["hour_us"] // 1_000_000))
    return row[word] or "-"


@command.command()
@span_options
@json_option
def idle(as_json: bool, **span: Any) -> None:
    """Where device time went that no request used: by model and cause."""
    found = client().get(f"{AT}/statement{query(**span)}")
    show(found, "\n".join(_statement(found)), as_json=as_json)


def _statement(found: dict[str, Any]) -> list[str]:
    """Where each dollar that is owed went; the last line says whether it adds up."""
    owed = found["owed_nanousd"]
    heads = ["MODEL", "USED", "COLD STARTS", "IDLE", "ASLEEP", "DRAINS", "FAILED", "ALL", "USED OF IT", "CHARGED"]
    rows = [
        [
            model["model"],
            *(
                dollars(model.get(f"{part}_nanousd", 0))
                for part in ("used", "load", "idle", "sleep", "drain", "failed", "total")
            ),
            percent(model["used_nanousd"], model["total_nanousd"]),
            dollars(model["charged_nanousd"]),
        ]
        for model in found["models"]
    ]
    free, pieces = sum(found["free_nanousd"].values()), sum(found.get("fragment_nanousd", {}).values())
    booked = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found["booked_until_us"] // 1_000_000))
    models = sum(model["total_nanousd"] for model in found["models"])
    return [
        table(heads, rows) if rows else "no model ran in that time",
        "",
        f"models {dollars(models)} + free capacity {dollars(free)} ({percent(free, owed)}) + fragments "
        f"{dollars(pieces)} ({percent(pieces, owed)}) = devices {dollars(owed)}",
        f"booked until {booked} · not accounted for: {found['residual_nanousd']} nano-dollars",
    ]


@command.command()
@click.option(
    "--to", "against", default="", help="PROVIDER/MODEL, like openai/gpt-4o-mini; else each model's compare_to."
)
@click.option("--last", help="So long until now, like 24h or 30d; 7d when nothing is said.")
@click.option(
    "--rate-percent",
    type=click.IntRange(1, 1000),
    help="As if devices cost so much of their price: spot, smaller, faster.",
)
@json_option
def compare(against: str, last: str | None, rate_percent: int | None, as_json: bool) -> None:
    """Beside a closed API: what it would have charged for the same work, and where the break-even lies."""
    found = client().get(f"{AT}/compare{query(None, None, last, against=against, rate_percent=rate_percent)}")
    heads = ["MODEL", "OWN", "API", "AGAINST", "USED NOW", "BREAK-EVEN AT", "CHEAPER"]
    rows = []
    for row in found["rows"]:
        if row["own_is_cheaper"] is None:
            rows.append([row["model"], dollars(row["own_nanousd"]), "-", row["against"] or "-", "-", "-", row["why"]])
            continue
        rows.append(
            [
                row["model"],
                dollars(row["own_nanousd"]),
                dollars(row["elsewhere_nanousd"]),
                row["against"],
                percent(row["utilisation_ppm"], 1_000_000),
                percent(row["break_even_ppm"], 1_000_000),
                "your own" if row["own_is_cheaper"] else "the API",
            ]
        )
    sources = sorted({row["source"] for row in found["rows"] if row["source"]})
    told = f"prices of APIs: {', '.join(sources)}; " if sources else ""
    note = f"{told}used now: the part of the replicas' cost that requests used"
    text = "\n".join([table(heads, rows), "", *_cases(found["rows"]), note]) if rows else "nothing ran in that time"
    show(found, text, as_json=as_json)


def _cases(rows: list[dict[str, Any]]) -> list[str]:
    """What would change it, model by model; a reason that all models share is told once."""
    told = [(row["model"], case) for row in rows for case in row.get("cases", ())]
    known = [
        f"{model} on {case['name']}: {dollars(case['own_nanousd'])}, break-even at "
        f"{percent(case['break_even_ppm'], 1_000_000)}, {'your own' if case['own_is_cheaper'] else 'the API'} cheaper "
        f"({case['text']})"
        for model, case in told
        if case["own_nanousd"] is not None
    ]
    unknown: dict[str, list[str]] = {}
    for _, case in told:
        if case["own_nanousd"] is None:
            unknown.setdefault(case["text"], []).append(case["name"])
    lines = [*known, *(f"{', '.join(dict.fromkeys(names))}: not told, {why}" for why, names in unknown.items())]
    return [*lines, ""] if lines else []


@command.command()
@click.option("--head", help="NUMBER:HASH that this command told before: prove that the chain still holds it.")
@json_option
def verify(head: str | None, as_json: bool) -> None:
    """Prove the books: every hash, every sum, every roll-up, and every hash that was noted outside the database."""
    start = time.monotonic()
    found = client().get(f"{AT}/verify{query(None, None, None, head=head)}")
    seconds = time.monotonic() - start
    lines = [f"{found['entries']} entries read in {seconds:.2f} s, head {found['entries']}:{found['head'] or 'none'}"]
    lines += [f"! {line}" for line in found["found"]]
    lines.append(
        "the books are right" if found["ok"] else "the books are WRONG: restore a backup, see docs/economics.md"
    )
    show(found, "\n".join(lines), as_json=as_json)
    if not found["ok"]:
        raise Permanent("the books are wrong")


@command.command()
@json_option
def prices(as_json: bool) -> None:
    """The prices in force."""
    found = client().get("/headrace/v1/prices")
    rows = [
        [price["model"], price.get("tenant") or "all", price.get("basis", ""), price["id"],
         time.strftime("%Y-%m-%d", time.gmtime(price.get("from_us", 0) // 1_000_000))]
        for price in found["prices"]
    ]  # fmt: skip
    show(found, table(["MODEL", "TENANT", "PRICE", "ID", "SINCE"], rows), as_json=as_json)


@command.command()
@json_option
def forecast(as_json: bool) -> None:
    """What each budget and the cloud's month will come to, with a band, and how good forecasts were."""
    found = client().get(f"{AT}/forecast")
    every = [found["total"], *found["budgets"]]
    lines = [f"{one['scope'] or 'all':<20} {one['period']:<6} {one['text']}" for one in every]
    show(found, "\n".join(lines), as_json=as_json)


@command.command()
@click.option(
    "--focus", "form", flag_value="focus", default=True, help="FOCUS 1.2 rows, idle capacity included: the default."
)
@click.option("--csv", "form", flag_value="csv", help="The spend roll-up as it is kept.")
@click.option("--cloudevents", "form", flag_value="cloudevents", help="Each charge as a CloudEvent, one JSON a line.")
@click.option("--from", "from_", help="From this day on: YYYY-MM-DD, UTC; the month when left out.")
@click.option("--to", help="Before this day; the last hour that is wholly booked when left out.")
@click.option("--after", type=int, help="With --cloudevents: only those after this sequence.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="To this file; .parquet makes Parquet."
)
@json_option
def export(form: str, from_: str | None, to: str | None, after: int | None, output: Path | None, as_json: bool) -> None:
    """The books for other programs: to standard output, or to a file; --json makes one array of objects."""
    text = client().text(f"{AT}/export{query(from_, to, None, format=form, after=after)}")
    if output is not None and output.suffix == ".parquet":
        if form == "cloudevents":
            raise Invalid("CloudEvents are JSON lines; give an --output that does not end in .parquet")
        from headrace.cli import parquet  # only when asked for

        click.echo(f"{parquet.write(text, output)} rows in {output}", err=True)
        return
    rows = _rows(form, text)
    said = f"{json.dumps(rows, ensure_ascii=False)}\n" if as_json else text
    if output is None:
        click.echo(said, nl=False)
    else:
        output.write_text(said)
        click.echo(f"{len(rows)} rows in {output}", err=True)


def _rows(form: str, text: str) -> list[dict[str, Any]]:
    if form == "cloudevents":
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(io.StringIO(text)))
