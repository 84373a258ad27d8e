"""`headrace speak`: speak a text into a file."""

import sys
from pathlib import Path

import click

from headrace.cli import files
from headrace.cli.shown import client, json_option, show

_FORMS = {".mp3": "mp3", ".opus": "opus", ".ogg": "opus", ".aac": "aac", ".flac": "flac", ".wav": "wav", ".pcm": "pcm"}


@click.command()
@click.argument("model")
@click.argument("text", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("speech.wav"), show_default=True,
              help="The file; its ending says the format: wav, mp3, opus, ogg, flac, aac or pcm.")  # fmt: skip
@click.option("--voice", default="alloy", show_default=True, help="Who speaks.")
@click.option("--speed", type=click.FloatRange(0.25, 4), default=1.0, show_default=True, help="How fast.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@json_option
def command(model: str, text: str | None, output: Path, voice: str, speed: float, force: bool, as_json: bool) -> None:
    """Speak TEXT with MODEL; without TEXT, standard input."""
    said = text if text is not None else sys.stdin.read()
    if not said.strip():
        raise click.UsageError('there is no text; give one: headrace speak MODEL "TEXT", or pipe it in')
    form = _FORMS.get(output.suffix.lower())
    if form is None:
        raise click.UsageError(f"{output} ends in {output.suffix or 'nothing'}; give one of {', '.join(_FORMS)}")
    files.vacant(output, force=force)
    body = {"model": model, "input": said, "voice": voice, "speed": speed, "response_format": form}
    got, facts = files.took(lambda: client().fetch("/v1/audio/speech", body))
    files.write(output, got.data, force=force)
    show({"file": str(output), "characters": len(said), **facts}, str(output), as_json=as_json)
    if not as_json:
        click.echo(files.closing(f"{len(said)} characters", facts), err=True)
