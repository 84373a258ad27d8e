"""What commands share: the client for this machine's cloud, and how results are shown to people and to programs."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from headrace import settings
from headrace.errors import Refused, Unreachable
from headrace.sdk.client import Client

json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object, stable keys."
)


def client() -> Client:
    """The cloud this command is for: HEADRACE_BASE_URL and HEADRACE_API_KEY, or this machine's home.

    The home's own key is sent to the home's own address and nowhere else.
    """
    here = settings.load()
    ours = f"http://{here.listen}"
    where = here.base_url.rstrip("/").removesuffix("/v1") or ours
    if here.api_key:
        return Client(where, here.api_key)
    if where != ours:
        raise Refused(f"no key for {where}: set HEADRACE_API_KEY", status=401, code="no_key")
    try:
        return Client(where, here.credentials.read_text().strip())
    except OSError:
        raise Unreachable(
            f"no cloud was started in {here.home}: start one with: headrace up, "
            "or set HEADRACE_BASE_URL and HEADRACE_API_KEY of one elsewhere"
        ) from None


def show(value: Any, text: str, *, as_json: bool) -> None:
    """To standard output: JSON for programs, text for people."""
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else text)


def warn(text: str) -> None:
    """To standard error: it was done, or could be, and not all that was asked for comes of it."""
    click.echo(f"warning: {text}", err=True)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of text; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max([len(head), *(len(click.unstyle(row[i])) for row in cells)]) for i, head in enumerate(heads)]
    right = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(heads))]

    def line(row: Sequence[str]) -> str:
        gaps = [" " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=True)]
        return "  ".join(g + c if r else c + g for c, g, r in zip(row, gaps, right, strict=True)).rstrip()

    return "\n".join([click.style(line(heads), bold=True), *(line(row) for row in cells)])


def dot(state: str) -> str:
    """A state with a mark of its colour."""
    colours = {"ready": "green", "waking": "yellow", "starting": "yellow", "draining": "yellow", "failed": "red"}
    return click.style("●", fg=colours.get(state, "bright_black")) + f" {state}"
