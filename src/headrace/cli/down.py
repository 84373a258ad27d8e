"""`headrace down`: stop the cloud of this home."""

import os
import signal
import time
from pathlib import Path
from typing import Final

import click

from headrace import settings
from headrace.cli.shown import json_option, show
from headrace.errors import HeadraceError, Unreachable

STOP_S: Final = 150.0


@click.command()
@click.option("--home", help="Folder of all state; HEADRACE_HOME when not given.")
@json_option
def command(home: str | None, as_json: bool) -> None:
    """Stop the cloud: open requests are finished, state is kept."""
    here = settings.load(home=home)
    pid = running(here)
    if pid is None:
        raise Unreachable(f"no cloud runs in {here.home}; start one with: headrace up")
    os.kill(pid, signal.SIGTERM)
    end_s = time.monotonic() + STOP_S
    while running(here) == pid:
        if time.monotonic() > end_s:
            raise HeadraceError(f"process {pid} did not stop within {STOP_S:.0f} s; see {here.logs}")
        time.sleep(0.02)
    show({"stopped": pid}, f"stopped; state is kept in {here.home}", as_json=as_json)


def running(here: settings.Settings) -> int | None:
    """The host's process id, when it is one of ours and alive."""
    try:
        pid = int((here.run / "host.pid").read_text())
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if b"headrace.assembly" in line and str(here.home).encode() in line else None
