"""`headrace up`: start the cloud."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import click

from headrace import __version__, settings
from headrace.cli.check import read
from headrace.cli.local import address_problem, running
from headrace.cli.shown import json_option, show
from headrace.errors import HeadraceError, Refused
from headrace.sdk.client import Client
from headrace.specs.catalog import Catalog

READY_S: Final = 60.0
PREDECESSOR_S: Final = 1.0
LOG_LINES: Final = 12


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
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
    from headrace.assembly.home import bootstrap, stored_catalog

    here = settings.load(home=home, listen=listen, gateways=gateways)
    # Before anything is written: a running cloud's catalog must not change under it.
    if pid := running(here):
        raise Refused(
            f"a cloud runs in {here.home} (process {pid}); stop it with: headrace down, "
            "or change it with: headrace apply cloud.yaml",
            status=409,
            code="already_running",
        )
    if problem := _taken(here):
        raise HeadraceError(f"cannot listen on {problem}")
    known = None if file else stored_catalog(here)
    boot = bootstrap(here, None if known else read(file)[0])
    found = {
        "url": f"{door(here)}/v1",
        "key": boot.key,
        "home": str(here.home),
        "models": list(boot.catalog.names()),
    }
    text = banner(here, boot.key, boot.catalog, detached=detach)
    argv = assembly.command(here, "host")
    if not detach:
        reader, writer = os.pipe()
        os.write(writer, ((json.dumps(found) if as_json else text) + "\n").encode())
        os.close(writer)
        os.set_inheritable(reader, True)
        sys.stdout.flush()
        os.execv(argv[0], [*argv, "--banner-fd", str(reader)])  # noqa: S606 - argv is ours, and no shell is wanted
    with (here.logs / "host.log").open("ab") as log:
        before = log.tell()
        host = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
        )
    _until_ready(here, host, before)
    show({**found, "pid": host.pid}, text, as_json=as_json)


def _taken(here: settings.Settings) -> str:
    """Why the address cannot be had; a cloud that was just killed is given the moment it needs to be gone."""
    end_s = time.monotonic() + PREDECESSOR_S
    while problem := address_problem(here):
        if here.port == 0 or time.monotonic() > end_s:
            return problem
        time.sleep(0.02)
    return ""


def door(here: settings.Settings) -> str:
    """The address a client on this machine uses."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(here.host, here.host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{here.port}"


def banner(here: settings.Settings, key: str | None, catalog: Catalog, *, detached: bool) -> str:
    """What a person sees first: address, key, models, and what to try."""
    names: dict[str, str] = {}
    for model in catalog.models:
        awake = model.scaling.min_replicas > 0 or not model.owned
        names.setdefault(model.name, f"{model.name} ({model.task}{'' if awake else ', asleep until asked'})")
    chat = next((model.name for model in catalog.models if model.converses), "")
    said = (
        f"{key}   (shown once; on this machine `headrace` finds it by itself)"
        if key
        else "as before; make another with: headrace key create"
    )
    ending = "headrace down stops it" if detached else "Ctrl-C stops it"
    lines = [
        f"headrace {__version__}",
        f"  url     {door(here)}/v1   (OpenAI API)",
        f"  key     {said}",
        f"  models  {' · '.join(names.values()) or 'none yet; give some with: headrace apply cloud.yaml'}",
    ]
    if chat:
        bearer = key or f"$(cat {here.credentials})"
        message = json.dumps({"model": chat, "messages": [{"role": "user", "content": "Hello"}]})
        lines += [
            f'  try     headrace run {chat} "What is the capital of France?"',
            f"          curl {door(here)}/v1/chat/completions -H 'Content-Type: application/json' \\",
            f"            -H \"Authorization: Bearer {bearer}\" -d '{message}'",
        ]
    lines.append(f"  then    headrace status · headrace explain last · {ending}, state is kept in {here.home}")
    return "\n".join(lines)


def _until_ready(here: settings.Settings, host: "subprocess.Popen[bytes]", log_from: int) -> None:
    """Wait for the public door, or end what was begun and tell why it did not open."""
    cloud, end_s, ready = Client(door(here), "", timeout_s=5), time.monotonic() + READY_S, False
    try:
        while not (ready := cloud.healthy()):
            if host.poll() is not None or time.monotonic() > end_s:
                raise HeadraceError(_why(here, log_from, ended=host.poll() is not None))
            time.sleep(0.02)
    finally:
        if not ready and host.poll() is None:  # after an interrupt, too: no cloud stays that nobody was told of
            host.send_signal(signal.SIGTERM)


def _why(here: settings.Settings, log_from: int, *, ended: bool) -> str:
    with (here.logs / "host.log").open("rb") as log:
        log.seek(log_from)
        lines = log.read().decode(errors="replace").strip().splitlines()[-LOG_LINES:]
    what = "it ended" if ended else f"nothing answered within {READY_S:.0f} s"
    return "\n".join([f"the cloud did not start: {what}. {here.logs}/host.log says:", *(f"  {x}" for x in lines)])
