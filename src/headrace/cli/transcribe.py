"""`headrace transcribe`: write down what a recording says."""

from pathlib import Path

import click

from headrace.cli import files
from headrace.cli.shown import client, json_option, show


@click.command()
@click.argument("model")
@click.argument("recording", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "srt", "vtt"]), default="text", show_default=True,
              help="Plain text, or subtitles.")  # fmt: skip
@click.option("--language", help="What is spoken, like en; the model's guess when left out.")
@click.option("--prompt", help="Names and words that may come up.")
@json_option
def command(model: str, recording: Path, form: str, language: str | None, prompt: str | None, as_json: bool) -> None:
    """Write down what RECORDING (wav, mp3, ogg, opus, flac, m4a, webm) says, with MODEL."""
    data = files.read(recording)
    given = {"language": language, "prompt": prompt}
    fields = {"model": model, "response_format": "verbose_json" if as_json else form}
    fields |= {name: value for name, value in given.items() if value is not None}
    got, facts = files.took(lambda: client().form("/v1/audio/transcriptions", fields, {"file": (recording.name, data)}))
    if as_json:
        show({**got.json(), **facts}, "", as_json=True)
        return
    click.echo(got.data.decode().strip())
    click.echo(files.closing(f"{len(data) / 1024:.0f} KiB heard", facts), err=True)
