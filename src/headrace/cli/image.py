"""`headrace image`: draw pictures of words."""

import base64
from pathlib import Path

import click

from headrace.cli import files
from headrace.cli.shown import client, json_option, show

_FORMS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@click.command()
@click.argument("model")
@click.argument("prompt")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("image.png"), show_default=True,
              help="The file, .png, .jpg or .webp; several get -1, -2 ...")  # fmt: skip
@click.option("-n", "count", type=click.IntRange(1, 10), default=1, show_default=True, help="How many.")
@click.option("--size", default="auto", show_default=True, help="WIDTHxHEIGHT in pixels.")
@click.option("--seed", type=int, help="The same words and seed make the same picture.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@json_option
def command(
    model: str, prompt: str, output: Path, count: int, size: str, seed: int | None, force: bool, as_json: bool
) -> None:
    """Draw what PROMPT says with MODEL."""
    form = _FORMS.get(output.suffix.lower())
    if form is None:
        raise click.UsageError(f"{output} ends in {output.suffix or 'nothing'}; give .png, .jpg or .webp")
    paths = [output] if count == 1 else [output.with_stem(f"{output.stem}-{place + 1}") for place in range(count)]
    for path in paths:
        files.vacant(path, force=force)
    body = {"model": model, "prompt": prompt, "n": count, "size": size, "output_format": form}
    if seed is not None:
        body["seed"] = seed
    got, facts = files.took(lambda: client().fetch("/v1/images/generations", body))
    drawn = got.json()["data"]
    for path, item in zip(paths, drawn, strict=False):
        files.write(path, base64.b64decode(item["b64_json"]), force=force)
    written = [str(path) for path in paths[: len(drawn)]]
    show({"files": written, **facts}, "\n".join(written), as_json=as_json)
    if not as_json:
        click.echo(files.closing(f"{len(drawn)} image{'s' if len(drawn) > 1 else ''}", facts), err=True)
