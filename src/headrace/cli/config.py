"""`headrace config`: the schema of the cloud file."""

import click

from headrace.cli.check import BUILT_IN
from headrace.cli.shown import json_option, show


@click.group()
def command() -> None:
    """The schema of the cloud file, and the built-in one."""


@command.command()
@click.option("--json", "_as_json", is_flag=True, help="It is JSON in any case.")
def schema(_as_json: bool) -> None:
    """JSON Schema of cloud.yaml, for editors."""
    from headrace.specs.schema import schema_text

    click.echo(schema_text(), nl=False)


@command.command()
@json_option
def default(as_json: bool) -> None:
    """The built-in cloud file: where to start from."""
    text = BUILT_IN.read_text()
    if as_json:
        show({"file": text}, "", as_json=True)
    else:
        click.echo(text, nl=False)
