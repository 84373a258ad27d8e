"""`headrace batch`: many requests from a file, durable, done with what others leave idle."""

import json
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from headrace.cli import files
from headrace.cli.dollars import dollars
from headrace.cli.shown import client, json_option, show, table
from headrace.errors import Invalid, Transient, Unreachable
from headrace.sdk.client import Client

BATCHES: Final = "/v1/batches"
LOOK_S: Final = 0.5
AWAY_MAX: Final = 60  # looks in a row at a cloud that is away
ENDED: Final = ("completed", "failed", "expired", "cancelled")
_BAR: Final = 24
_output = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where the answers go when it has ended."
)


@click.group()
def command() -> None:
    """Do many requests at once: each line is paid once, whatever is killed, and who asks now comes first."""


@command.command("create")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--endpoint", help="Like /v1/embeddings; that of the first line, when not given.")
@click.option(
    "--metadata", "pairs", multiple=True, metavar="NAME=VALUE", help="For you to know it by; may be repeated."
)
@click.option("--detach", is_flag=True, help="Print the batch's id and do not wait.")
@_output
@json_option
def create(
    file: Path, endpoint: str | None, pairs: tuple[str, ...], detach: bool, output: Path | None, as_json: bool
) -> None:
    """Upload FILE, JSON lines in OpenAI's form, begin the batch, and wait for its end."""
    if output is not None:
        files.vacant(output, force=False)
    asked: dict[str, Any] = {"endpoint": endpoint or _endpoint(file), "completion_window": "24h"}
    if pairs:
        asked["metadata"] = dict(_pair(word) for word in pairs)
    cloud = client()
    sent = cloud.form("/v1/files", {"purpose": "batch"}, {"file": (file.name, files.read(file))})
    batch = cloud.write(BATCHES, {**asked, "input_file_id": json.loads(sent.data)["id"]})
    if detach:
        show(batch, batch["id"], as_json=as_json)
        return
    if not as_json:
        click.echo(click.style(f"{batch['id']} goes on without this command, too", dim=True), err=True)
    _ended(cloud, batch, output, as_json=as_json)


@command.command("list")
@json_option
def list_batches(as_json: bool) -> None:
    """The newest batches, how far they are, and what each has cost."""
    found = client().get(BATCHES)
    rows = [
        [b["id"], b["status"], _done(b), b["request_counts"]["failed"], dollars(b["headrace"]["cost_nanousd"]),
         b["endpoint"]]
        for b in found["data"]
    ]  # fmt: skip
    heads = ["BATCH", "STATUS", "DONE", "FAILED", "COST", "ENDPOINT"]
    show(found, table(heads, rows) if rows else "no batch yet", as_json=as_json)


@command.command("get")
@click.argument("batch")
@click.option("--wait", is_flag=True, help="Until it has ended.")
@_output
@json_option
def get(batch: str, wait: bool, output: Path | None, as_json: bool) -> None:
    """How far BATCH is, what it has cost, and what is off with it."""
    if output is not None:
        files.vacant(output, force=False)
    cloud = client()
    found = cloud.get(_at(batch))
    if wait or (output is not None and found["status"] in ENDED):
        _ended(cloud, found, output, as_json=as_json)
        return
    if output is not None:
        raise Invalid(f"{batch} is {found['status']}; its answers are there when it has ended, or with --wait")
    show(found, _told(found), as_json=as_json)


@command.command("cancel")
@click.argument("batch")
@json_option
def cancel(batch: str, as_json: bool) -> None:
    """Send no more of BATCH; what is done stays and is in its files."""
    found = client().post(_at(batch) + "/cancel", {})
    show(found, f"{found['id']} {found['status']}", as_json=as_json)


def _ended(cloud: Client, batch: dict[str, Any], output: Path | None, *, as_json: bool) -> None:
    """Wait with a bar, write the answers, say what it came to."""
    batch = _watched(cloud, batch)
    if output is not None and batch.get("output_file_id"):
        files.write(output, cloud.fetch(f"/v1/files/{batch['output_file_id']}/content").data, force=False)
    show(batch, _told(batch), as_json=as_json)
    if batch["status"] != "completed" or batch["request_counts"]["failed"]:
        raise click.exceptions.Exit(1)


def _watched(cloud: Client, first: dict[str, Any]) -> dict[str, Any]:
    """A batch at its end, with a bar on standard error where that is a terminal. A cloud may be away for a while."""
    batch, began_s, away = first, time.monotonic(), 0
    while True:
        over = batch["status"] in ENDED
        if sys.stderr.isatty():
            click.echo("\r\033[K" + _bar(batch, first, time.monotonic() - began_s), nl=over, err=True)
        if over:
            return batch
        time.sleep(LOOK_S)
        try:
            batch, away = cloud.get(_at(batch["id"])), 0
        except (Unreachable, Transient):
            away += 1
            if away >= AWAY_MAX:
                raise


def _bar(batch: dict[str, Any], first: dict[str, Any], spent_s: float) -> str:
    """One line: how far, what it has cost, and how long it will take at the pace since the first look."""
    counts, before = batch["request_counts"], first["request_counts"]
    done, total = counts["completed"] + counts["failed"], counts["total"]
    since = done - before["completed"] - before["failed"]
    filled = _BAR * done // total if total else 0
    left = _clock((total - done) * spent_s / since) if since and total else "--:--"
    line = f"{'█' * filled}{'░' * (_BAR - filled)} {done:,}/{total:,}  {dollars(batch['headrace']['cost_nanousd'])}"
    return f"{line}  {left} left  {batch['status']}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _told(batch: dict[str, Any]) -> str:
    money = batch["headrace"]
    lines = [f"{batch['id']}  {batch['status']}  {_done(batch)} done, {batch['request_counts']['failed']} failed",
             f"cost    {dollars(money['cost_nanousd'])}{_unpriced(money['unpriced'])}"]  # fmt: skip
    lines += [f"{name:7} {batch[key]}" for name, key in (("answers", "output_file_id"), ("errors", "error_file_id"))
              if key in batch]  # fmt: skip
    for error in (batch.get("errors") or {"data": []})["data"]:
        where = f"line {error['line']}: " if error.get("line") else ""
        lines.append(f"{where}{error['message']}")
    return "\n".join(lines)


def _unpriced(count: int) -> str:
    return f", and {count} answers whose cost is in the books alone" if count else ""


def _done(batch: dict[str, Any]) -> str:
    return f"{batch['request_counts']['completed']:,}/{batch['request_counts']['total']:,}"


def _endpoint(file: Path) -> str:
    """What the first line asks."""
    with file.open("rb") as lines:
        try:
            return str(json.loads(next(lines))["url"])
        except (StopIteration, ValueError, KeyError, TypeError):
            raise Invalid(f"{file}:1 is not a request; see docs/batches.md for the form of a line") from None


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{word!r} is not metadata; write NAME=VALUE")
    return name, value


def _at(batch: str) -> str:
    return f"{BATCHES}/{quote(batch, safe='')}"
