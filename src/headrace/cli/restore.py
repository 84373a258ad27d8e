"""`headrace restore`: put a backup of the database back."""

from pathlib import Path

import click

from headrace import settings
from headrace.cli.local import running
from headrace.cli.shown import json_option, show
from headrace.errors import Refused


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--home", help="Folder of all state; HEADRACE_HOME when not given.")
@json_option
def command(file: Path | None, home: str | None, as_json: bool) -> None:
    """Put the newest backup whose books are right, or FILE, in the database's place. What was there is kept aside."""
    from headrace.assembly.home import restore

    here = settings.load(home=home)
    if pid := running(here):
        raise Refused(
            f"a cloud runs in {here.home} (process {pid}); stop it first with: headrace down",
            status=409,
            code="already_running",
        )
    good, aside = restore(here, file)
    kept = f"; what was there is now {aside}" if aside else ""
    text = f"restored {here.database} from {good}{kept}\nwhat came after that backup is lost; start with: headrace up"
    show({"restored": str(good), "replaced": str(aside) if aside else None}, text, as_json=as_json)
