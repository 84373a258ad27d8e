"""`headrace completion`: shell completion."""

import click
from click.shell_completion import get_completion_class

from headrace.cli.shown import json_option, show


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def command(shell: str, as_json: bool) -> None:
    """Print the completion script; e.g. `source <(headrace completion bash)`."""
    from headrace.cli.main import headrace

    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    script = kind(headrace, {}, "headrace", "_HEADRACE_COMPLETE").source()
    show({"shell": shell, "script": script}, script, as_json=as_json)
