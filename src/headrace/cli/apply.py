"""`headrace apply`: make a cloud file what is wanted, after showing the difference."""

import sys
from pathlib import Path
from urllib.parse import quote

import click

from headrace.cli.check import folder_of, text_of
from headrace.cli.shown import client, json_option, show, warn


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only show the difference.")
@json_option
def command(file: Path, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Apply a cloud FILE. The difference is shown first."""
    text, cloud = text_of(file), client()
    place = f"filename={quote(file.name, safe='')}&folder={quote(folder_of(file), safe='')}"
    at = f"/headrace/v1/apply?{place}&dry_run="
    seen = cloud.post(at + "true", text)
    for warning in seen.get("warnings", ()):
        warn(f"{file}: {warning}")
    lines = "\n".join(change["text"] for change in seen["diff"]) or "nothing changes"
    if dry_run or not seen["diff"]:
        show(seen, lines, as_json=as_json)
        return
    click.echo(lines, err=as_json)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody is there to be asked; add --yes, or --dry-run to look only")
        click.confirm("Apply?", abort=True, err=True)
    done = cloud.write(at + "false", text, **{"If-Match": seen["before"]})
    show(done, f"applied: catalog {done['revision']}", as_json=as_json)
