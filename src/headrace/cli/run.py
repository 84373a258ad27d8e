"""`headrace run`: ask a model once."""

import sys

import click

from headrace.cli import talk
from headrace.cli.shown import client, json_option, show


@click.command()
@click.argument("model")
@click.argument("prompt", required=False)
@click.option("--max-tokens", type=int, help="At most so many tokens of answer.")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0: the same answer every time.")
@click.option("--system", default="", help="A system message before the prompt.")
@json_option
def command(
    model: str, prompt: str | None, max_tokens: int | None, temperature: float, system: str, as_json: bool
) -> None:
    """Ask MODEL once; the answer streams. Without PROMPT it is read from standard input."""
    if prompt is None and sys.stdin.isatty():
        click.echo("type the prompt, then Ctrl-D", err=True)
    text = prompt if prompt is not None else sys.stdin.read()
    if not text.strip():
        raise click.UsageError('there is no prompt; give one: headrace run MODEL "PROMPT", or pipe it in')
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    given = {"max_tokens": max_tokens, "temperature": temperature}
    more = {name: value for name, value in given.items() if value is not None}
    took = talk.ask(client(), model, messages, quiet=as_json, **more)
    if as_json:
        show(took, "", as_json=True)
    else:
        click.echo(talk.closing(took), err=True)
