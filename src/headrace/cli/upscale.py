"""`headrace upscale`: enlarge a picture."""

import base64
from pathlib import Path

import click

from headrace.cli import files
from headrace.cli.shown import client, json_option, show


@click.command()
@click.argument("model")
@click.argument("picture", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file; PICTURE-large.png when left out.")
@click.option("--scale", type=click.IntRange(1, 16), help="How many times as wide; the model's first when left out.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@json_option
def command(model: str, picture: Path, output: Path | None, scale: int | None, force: bool, as_json: bool) -> None:
    """Enlarge PICTURE (PNG, JPEG or WebP) with MODEL; the result is a PNG."""
    path = output or picture.with_name(f"{picture.stem}-large.png")
    data = files.read(picture)
    files.vacant(path, force=force)
    fields = {"model": model} | ({"scale": str(scale)} if scale else {})
    got, facts = files.took(lambda: client().form("/v1/images/upscale", fields, {"image": (picture.name, data)}))
    files.write(path, base64.b64decode(got.json()["data"][0]["b64_json"]), force=force)
    show({"file": str(path), **facts}, str(path), as_json=as_json)
    if not as_json:
        click.echo(files.closing("1 image", facts), err=True)
