"""`headrace pipeline`: chained and parallel calls of models, durable, capped, with a receipt by stage."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from headrace import settings
from headrace.cli.dollars import dollars
from headrace.cli.shown import client, json_option, show, table
from headrace.errors import HeadraceError, Invalid

RUNS: Final = "/headrace/v1/runs"
PIPELINES: Final = "/headrace/v1/pipelines"


@click.group()
def command() -> None:
    """Run pipelines: each step is kept, a killed run goes on, and its cap is never passed."""


@command.command("run")
@click.argument("pipeline", metavar="NAME|FILE")
@click.argument("inputs", nargs=-1, metavar="INPUT=VALUE...")
@click.option("--cost", help="At most so many dollars, instead of the pipeline's cap.")
@click.option("--time", "time_", help="At most so long, like 90s.")
@click.option("--detach", is_flag=True, help="Print the run's id and do not wait.")
@json_option
def run_pipeline(
    pipeline: str, inputs: tuple[str, ...], cost: str | None, time_: str | None, detach: bool, as_json: bool
) -> None:
    """Run a pipeline by the name it is deployed under, or from its FILE; a value may be JSON or @FILE, text or not."""
    asked = {**_source(pipeline), "inputs": dict(_input(word) for word in inputs)}
    asked |= {name: value for name, value in (("cost", cost), ("time", time_)) if value is not None}
    found = client().write(RUNS, asked)
    if detach:
        show(found, found["id"], as_json=as_json)
        return
    _follow(found["id"], as_json=as_json)


@command.command("deploy")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def deploy(file: Path, as_json: bool) -> None:
    """Keep the pipeline of FILE; any OpenAI client can call it as the model pipeline/NAME."""
    found = client().write(PIPELINES, _source(str(file)))
    show(found, f"deployed: call it as the model {found['model']}", as_json=as_json)


@command.command("list")
@json_option
def list_runs(as_json: bool) -> None:
    """The newest runs, and what each has cost."""
    found = client().get(RUNS)
    rows = [
        [r["id"], r["pipeline"], r["phase"], r["steps"], dollars(r["cost"]["spent_nanousd"])] for r in found["data"]
    ]
    text = table(["RUN", "PIPELINE", "PHASE", "STEPS", "COST"], rows) if rows else "no run yet"
    show(found, text, as_json=as_json)


@command.command("show")
@click.argument("run")
@click.option("--calls", is_flag=True, help="Every call of a model or a tool: when, how long, and what it cost.")
@click.option("--save", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Write the pictures and sounds that it made into a folder.")  # fmt: skip
@json_option
def show_run(run: str, calls: bool, save: Path | None, as_json: bool) -> None:
    """What a run did, what was chosen and why, its output, its artifacts and its receipt."""
    api = client()
    found = api.get(_at(run))
    found["artifacts"] = api.get(_at(run) + "/artifacts")["data"]
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        for one in found["artifacts"]:
            (save / Path(one["name"]).name).write_bytes(
                api.fetch(f"{_at(run)}/artifacts/{quote(one['name'], safe='')}").data
            )
    show(found, (_calls(found) + "\n" if calls else "") + _whole(found, save), as_json=as_json)


@command.command("cost")
@click.argument("run")
@json_option
def cost_run(run: str, as_json: bool) -> None:
    """The receipt of a run by stage; its lines add up to the sum."""
    found = client().get(_at(run))["cost"]
    show(found, _receipt(found), as_json=as_json)


@command.command("retry")
@click.argument("run")
@click.option("--from", "step", default="", help="Do this step and what was done after it anew.")
@click.option("--cost", help="A new cap in dollars, for all of the run.")
@click.option("--time", "time_", help="So much time from now on.")
@json_option
def retry_run(run: str, step: str, cost: str | None, time_: str | None, as_json: bool) -> None:
    """Go on with a run that has ended; what it has done is kept and not paid for again."""
    asked = {"step": step, "cost": cost, "time": time_}
    client().write(_at(run) + "/retry", {name: value for name, value in asked.items() if value})
    _follow(run, as_json=as_json)


@command.command("delete")
@click.argument("run")
@json_option
def delete_run(run: str, as_json: bool) -> None:
    """Take an ended run away, with all that it made; its requests stay in the books."""
    found = client().delete(_at(run))
    show(found, f"deleted {run}", as_json=as_json)


@command.command("cancel")
@click.argument("run")
@json_option
def cancel_run(run: str, as_json: bool) -> None:
    """End a run now; it can be gone on with by `retry`."""
    found = client().write(_at(run) + "/cancel", {})
    show(found, f"{run} {found['phase']}", as_json=as_json)


@command.command("estimate")
@click.argument("pipeline", metavar="NAME|FILE")
@click.argument("inputs", nargs=-1, metavar="INPUT=VALUE...")
@json_option
def estimate(pipeline: str, inputs: tuple[str, ...], as_json: bool) -> None:
    """What a run would cost, by stage, from quotes. Nothing is asked of a model."""
    asked = {**_source(pipeline), "inputs": dict(_input(word) for word in inputs)}
    found = client().post(PIPELINES + "/estimate", asked)
    rows = [
        [s["stage"], f"{s['calls_least']}-{s['calls_most']}", dollars(s["expected_nanousd"]), s["basis"]]
        for s in found["stages"]
    ]
    total = (
        f"least {dollars(found['least_nanousd'])} · expected {dollars(found['expected_nanousd'])} · "
        f"never more than {dollars(found['worst_nanousd'])} (cap {dollars(found['cap_nanousd'])})"
    )
    show(found, table(["STAGE", "CALLS", "EACH", "FROM"], rows) + "\n" + total, as_json=as_json)


def _follow(run: str, *, as_json: bool) -> None:
    """Wait for the end of a run, telling its steps as they end."""
    api = client()
    while True:
        try:
            for event in api.events(_at(run) + "/events"):
                if event["event"] == "step_ended" and not as_json:
                    click.echo(click.style(f"done    {event['step']}", dim=True), err=True)
        except HeadraceError:
            click.echo("the stream broke off; the run goes on", err=True)
        found = api.get(_at(run))
        if found["phase"] != "running":
            break
    found["artifacts"] = api.get(_at(run) + "/artifacts")["data"]
    show(found, _whole(found), as_json=as_json)
    if found["phase"] != "finished":
        raise click.exceptions.Exit(1)


def _calls(found: dict[str, Any]) -> str:
    rows = []
    for span in found["spans"]:
        took = f"{(span['ended_us'] - span['started_us']) / 1e6:.3f} s" if span["ended_us"] else ""
        cost = "not known" if span["charge_nanousd"] is None else dollars(span["charge_nanousd"])
        rows.append([span["step"], span["name"], span["outcome"], took, cost if span["kind"] == "call" else ""])
    return table(["STEP", "MODEL OR TOOL", "OUTCOME", "TOOK", "COST"], rows)


def _whole(found: dict[str, Any], saved: Path | None = None) -> str:
    lines = [f"{found['id']}  {found['pipeline']}  {found['phase']}  {found['steps']} steps"]
    lines += [f"chosen  {one['step']}: {one['why']}" for one in found["chosen"]]
    if found["error"]:
        step = f"step {found['error']['step']}: " if found["error"]["step"] else ""
        lines.append(f"failed  {step}{found['error']['reason']}\nfix     {found['error']['fix']}")
    elif found["output"] is not None:
        output = found["output"]
        lines.append(output if isinstance(output, str) else json.dumps(output, ensure_ascii=False, indent=2))
    for one in found.get("artifacts", ()):
        where = saved / one["name"] if saved is not None else f"{one['name']} (show --save DIR writes it)"
        lines.append(f"made    {where}  {one['type']}, {one['bytes']} bytes")
    return "\n".join([*lines, _receipt(found["cost"])])


def _receipt(cost: dict[str, Any]) -> str:
    rows = [[s["stage"], s["calls"], dollars(s["spent_nanousd"]), _lost(s)] for s in cost["stages"]]
    rows.append(["sum", sum(s["calls"] for s in cost["stages"]), dollars(cost["spent_nanousd"]), _lost(cost)])
    return table(["STAGE", "CALLS", "COST", f"of a cap of {dollars(cost['cap_nanousd'])}"], rows)


def _lost(part: dict[str, Any]) -> str:
    said = [f"{dollars(part['cut_nanousd'])} of it by calls cut off"] if part.get("cut_nanousd") else []
    said += [f"and at most {dollars(part['lost_nanousd'])} of calls cut off"] if part["lost_nanousd"] else []
    return ", ".join(said)


def _at(run: str) -> str:
    return f"{RUNS}/{quote(run, safe='')}"


def _source(named: str) -> dict[str, str]:
    """What is to be run: a name, the text of a YAML file, or a Python file that is put in the home's folder."""
    path = Path(named)
    if path.suffix == ".py" and path.is_file():
        here = settings.load()
        code = here.pipelines / "code"
        if not code.is_dir():
            raise Invalid(f"a pipeline in Python runs where its cloud does, and {here.home} is not its home here")
        shutil.copy(path, code / f"{path.stem}.py")
        return {"pipeline": path.stem}
    if path.suffix in (".yaml", ".yml"):
        try:
            return {"text": path.read_text()}
        except OSError as error:
            raise Invalid(f"{path}: {error.strerror}") from None
    return {"pipeline": named}


def _input(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    if not equals:
        raise click.UsageError(f"{word!r} is not an input; write NAME=VALUE")
    if text.startswith("@"):
        try:
            data = Path(text[1:]).read_bytes()
        except OSError as error:
            raise Invalid(f"{text[1:]}: {error.strerror}") from None
        try:
            text = data.decode()
        except UnicodeDecodeError:  # a picture or a sound
            return name, {"base64": base64.b64encode(data).decode()}
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text
