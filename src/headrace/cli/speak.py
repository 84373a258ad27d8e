"""`headrace speak`: speak a text into a file, or to standard output while it is spoken."""

import base64
import sys
import time
from pathlib import Path
from typing import Any

import click

from headrace.cli import files
from headrace.cli.shown import client, json_option, show
from headrace.cli.talk import replica_of

_FORMS = {".mp3": "mp3", ".opus": "opus", ".ogg": "opus", ".aac": "aac", ".flac": "flac", ".wav": "wav", ".pcm": "pcm"}


@click.command()
@click.argument("model")
@click.argument("text", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("speech.wav"), show_default=True,
              help="The file; its ending says the format. - is standard output, while it is spoken.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(sorted({*_FORMS.values()})),
              help="The format, where no ending says it; wav if not given.")  # fmt: skip
@click.option("--voice", default="alloy", show_default=True, help="Who speaks.")
@click.option("--speed", type=click.FloatRange(0.25, 4), default=1.0, show_default=True, help="How fast.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@json_option
def command(
    model: str,
    text: str | None,
    output: Path,
    form: str | None,
    voice: str,
    speed: float,
    force: bool,
    as_json: bool,
) -> None:
    """Speak TEXT with MODEL; without TEXT, standard input. `headrace speak MODEL TEXT -o - | ffplay -` plays it."""
    said = text if text is not None else sys.stdin.read()
    if not said.strip():
        raise click.UsageError('there is no text; give one: headrace speak MODEL "TEXT", or pipe it in')
    body = {"model": model, "input": said, "voice": voice, "speed": speed}
    if str(output) == "-":
        if as_json:
            raise click.UsageError("-o - leaves no room for --json; give a file")
        facts = _pipe({**body, "response_format": form or "wav", "stream_format": "sse"})
        click.echo(files.closing(f"{len(said)} characters", facts), err=True)
        return
    form = _FORMS.get(output.suffix.lower(), form)
    if form is None:
        raise click.UsageError(f"{output} ends in {output.suffix or 'nothing'}; give one of {', '.join(_FORMS)}")
    files.vacant(output, force=force)
    got, facts = files.took(lambda: client().fetch("/v1/audio/speech", {**body, "response_format": form}))
    files.write(output, got.data, force=force)
    show({"file": str(output), "characters": len(said), **facts}, str(output), as_json=as_json)
    if not as_json:
        click.echo(files.closing(f"{len(said)} characters", facts), err=True)


def _pipe(body: dict[str, Any]) -> dict[str, Any]:
    """Write the sound to standard output as it comes; what it took."""
    cloud, begun_s = client(), time.monotonic()
    stream, cost = cloud.stream("/v1/audio/speech", body), ""
    for event in stream:
        if event["type"] == "speech.audio.done":
            cost = event["usage"].get("headrace", {}).get("cost", "")
            break
        sys.stdout.buffer.write(base64.b64decode(event["audio"]))
        sys.stdout.buffer.flush()
    return {
        "seconds": time.monotonic() - begun_s,
        "cost": cost,
        "replica": replica_of(cloud, stream),
        "request": stream.request_id,
    }
