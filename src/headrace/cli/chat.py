"""`headrace chat`: talk with a model."""

from typing import Any

import click

from headrace.cli import talk
from headrace.cli.shown import client, json_option, show
from headrace.errors import Invalid


@click.command()
@click.argument("model")
@json_option
def command(model: str, as_json: bool) -> None:
    """Talk with MODEL. /new forgets what was said, /quit or Ctrl-D ends."""
    cloud = client()
    known = [found["name"] for found in cloud.get("/headrace/v1/models")["models"]]
    if model not in known:
        raise Invalid(f"there is no model {model!r}; there are: {', '.join(known)}", status=404)
    messages: list[dict[str, Any]] = []
    while True:
        try:
            text = click.prompt("you", prompt_suffix=" > ", err=as_json)
        except click.Abort:
            click.echo(err=True)
            return
        if text == "/quit":
            return
        if text == "/new":
            messages.clear()
            continue
        messages.append({"role": "user", "content": text})
        took = talk.ask(cloud, model, messages, quiet=as_json)
        messages.append({"role": "assistant", "content": took["text"]})
        if as_json:
            show(took, "", as_json=True)
        else:
            click.echo(talk.closing(took), err=True)
