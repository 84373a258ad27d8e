"""`headrace video`: a film of words, made as a job that goes on without this command."""

import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from headrace.cli import files
from headrace.cli.shown import client, json_option, show
from headrace.errors import Invalid, Transient, Unreachable
from headrace.sdk.client import Client

VIDEOS: Final = "/v1/videos"
LOOK_S: Final = 0.5
AWAY_MAX: Final = 60  # looks in a row at a cloud that is away
_BAR: Final = 24


@click.command()
@click.argument("model")
@click.argument("prompt")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("video.mp4"), show_default=True,
              help="The file, .mp4.")  # fmt: skip
@click.option("--seconds", type=click.IntRange(1, 60), default=4, show_default=True, help="How long it is.")
@click.option("--size", help="WIDTHxHEIGHT in pixels; the model's first when left out.")
@click.option("--seed", type=int, help="The same words and seed make the same film.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@json_option
def command(
    model: str, prompt: str, output: Path, seconds: int, size: str | None, seed: int | None, force: bool, as_json: bool
) -> None:
    """Make a film of what PROMPT says with MODEL."""
    files.vacant(output, force=force)
    cloud = client()
    asked = {"model": model, "prompt": prompt, "seconds": str(seconds), "size": size or _first_size(cloud, model)}
    video = cloud.write(VIDEOS, asked if seed is None else {**asked, "seed": seed})
    began_s = time.monotonic()
    video = _watched(cloud, video, began_s)
    if video["status"] != "completed":
        error = video.get("error") or {}
        raise Transient(f"{video['id']} {video['status']}: {error.get('message', 'no reason was told')}")
    files.write(output, cloud.fetch(f"{VIDEOS}/{quote(video['id'])}/content").data, force=force)
    show({"file": str(output), **video}, str(output), as_json=as_json)
    if not as_json:
        cost = f" · ${video['headrace']['cost']}" if video["headrace"]["cost"] else ""
        line = f"─ {seconds} s of film · {time.monotonic() - began_s:.2f} s{cost} · {video['id']}"
        click.echo(click.style(line, dim=True), err=True)


def _first_size(cloud: Client, model: str) -> str:
    """The size that a model makes when nothing is said."""
    found = cloud.get(f"/v1/models/{quote(model, safe='')}")
    sizes = (found.get("media") or {}).get("sizes") or ()
    if found["task"] != "video":
        raise Invalid(f"{model} is for {found['task']}; give a model for video, see: headrace models", param="model")
    return str(sizes[0]) if sizes else "720x1280"


def _watched(cloud: Client, video: dict[str, Any], began_s: float) -> dict[str, Any]:
    """A film at its end, with a bar on standard error where that is a terminal. A cloud may be away for a while."""
    away = 0
    while True:
        over = video["status"] in ("completed", "failed")
        if sys.stderr.isatty():
            click.echo("\r\033[K" + _bar(video, time.monotonic() - began_s), nl=over, err=True)
        if over:
            return video
        time.sleep(LOOK_S)
        try:
            video, away = cloud.get(f"{VIDEOS}/{quote(video['id'])}"), 0
        except (Unreachable, Transient):
            away += 1
            if away >= AWAY_MAX:
                raise


def _bar(video: dict[str, Any], spent_s: float) -> str:
    """One line: how far, and how long it will take at this pace."""
    percent = int(video["progress"])
    filled = _BAR * percent // 100
    left = f"{spent_s * (100 - percent) / percent:.0f} s left" if percent else "waiting"
    return f"{'█' * filled}{'░' * (_BAR - filled)} {percent} %  {left}  {video['status']}"
