"""`headrace completion`: shell completion."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script; e.g. `source <(headrace completion bash)`."""
    from headrace.cli.main import headrace

    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    click.echo(kind(headrace, {}, "headrace", "_HEADRACE_COMPLETE").source())
