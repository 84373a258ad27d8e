"""`headrace embed`: embed texts."""

import sys

import click

from headrace.cli.shown import client, json_option, show


@click.command()
@click.argument("model")
@click.argument("texts", nargs=-1)
@json_option
def command(model: str, texts: tuple[str, ...], as_json: bool) -> None:
    """Embed TEXTS with MODEL; without texts, each line of standard input."""
    wanted = list(texts) or [line for line in sys.stdin.read().splitlines() if line.strip()]
    if not wanted:
        raise click.UsageError('there is no text; give one: headrace embed MODEL "TEXT"')
    found = client().post("/v1/embeddings", {"model": model, "input": wanted, "encoding_format": "float"})
    lines = []
    for text, item in zip(wanted, found["data"], strict=True):
        vector = item["embedding"]
        head = ", ".join(f"{number:+.4f}" for number in vector[:4])
        lines.append(f"[{head}, …] {len(vector)} dimensions · {text[:60]}")
    lines.append(click.style(f"─ {found['usage']['prompt_tokens']} tokens", dim=True))
    show(found, "\n".join(lines), as_json=as_json)
