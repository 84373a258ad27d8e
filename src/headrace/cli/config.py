"""`headrace config`: the schema of the cloud file."""

import click


@click.group()
def command() -> None:
    """The schema of the cloud file, and the built-in one."""


@command.command()
def schema() -> None:
    """JSON Schema of cloud.yaml, for editors."""
    from headrace.specs.schema import schema_text

    click.echo(schema_text(), nl=False)


@command.command()
def default() -> None:
    """The built-in cloud file: where to start from."""
    from pathlib import Path

    click.echo((Path(__file__).parents[1] / "specs" / "default.yaml").read_text(), nl=False)
