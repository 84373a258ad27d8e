"""`headrace up`: start the cloud."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import click

from headrace import __version__, settings
from headrace.cli.check import read
from headrace.cli.shown import json_option, show
from headrace.errors import HeadraceError
from headrace.sdk.client import Client
from headrace.specs.catalog import Catalog

READY_S: Final = 60.0


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--listen", help="HOST:PORT of the public door; 127.0.0.1:8780 when not given.")
@click.option("--home", help="Folder of all state; HEADRACE_HOME when not given.")
@click.option("--gateways", type=int, help="Gateway processes; one per core, at most 4, when not given.")
@click.option("--detach", is_flag=True, help="Run in the background.")
@json_option
def command(
    file: Path | None, listen: str | None, home: str | None, gateways: int | None, detach: bool, as_json: bool
) -> None:
    """Start the cloud that FILE describes; without FILE the one of last time, or the built-in one."""
    from headrace import assembly

    here = settings.load(home=home, listen=listen, gateways=gateways)
    known = None if file else assembly.stored_catalog(here)
    boot = assembly.bootstrap(here, None if known else read(file)[0])
    found = {
        "url": f"http://{here.listen}/v1",
        "key": boot.key,
        "home": str(here.home),
        "models": list(boot.catalog.names()),
    }
    text = banner(here, boot.key, boot.catalog)
    argv = assembly.command(here, "host")
    if not detach:
        reader, writer = os.pipe()
        os.write(writer, ((_json(found) if as_json else text) + "\n").encode())
        os.close(writer)
        os.set_inheritable(reader, True)
        sys.stdout.flush()
        os.execv(argv[0], [*argv, "--banner-fd", str(reader)])  # noqa: S606 - argv is ours, and no shell is wanted
    with (here.logs / "host.log").open("ab") as log:
        host = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
        )
    _until_ready(here, host)
    show({**found, "pid": host.pid}, text, as_json=as_json)


def banner(here: settings.Settings, key: str | None, catalog: Catalog) -> str:
    """What a person sees first."""
    names: dict[str, str] = {}
    for model in catalog.models:
        names.setdefault(model.name, model.task)
    models = " · ".join(f"{name} ({task})" for name, task in names.items())
    chat = next((name for name, task in names.items() if task == "chat"), "")
    shown = (
        f"{key}   (shown once; on this machine `headrace` finds it by itself)"
        if key
        else "as before; make another with: headrace key create"
    )
    run = f'headrace run {chat} "What is the capital of France?"' if chat else "headrace models"
    return "\n".join(
        [
            f"headrace {__version__}",
            f"  url     http://{here.listen}/v1   (OpenAI API)",
            f"  key     {shown}",
            f"  models  {models}",
            f"  try     {run}",
            "          headrace status · headrace explain last · Ctrl-C stops, state is kept in " + str(here.home),
        ]
    )


def _json(value: object) -> str:
    import json

    return json.dumps(value)


def _until_ready(here: settings.Settings, host: "subprocess.Popen[bytes]") -> None:
    cloud, end_s = Client(f"http://{here.listen}", "", timeout_s=5), time.monotonic() + READY_S
    while not cloud.healthy():
        if host.poll() is not None or time.monotonic() > end_s:
            lines = (here.logs / "host.log").read_text(errors="replace").strip().splitlines()
            raise HeadraceError(f"the cloud did not start: {lines[-1] if lines else 'see ' + str(here.logs)}")
        time.sleep(0.02)
