"""`headrace down`: stop the cloud of this home."""

import os
import signal
import time
from typing import Final

import click

from headrace import settings
from headrace.cli.local import is_host, running
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
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it ended in this moment
    except PermissionError:
        raise HeadraceError(f"process {pid} belongs to another user; stop it as that user") from None
    end_s = time.monotonic() + STOP_S
    while is_host(here, pid):
        if time.monotonic() > end_s:
            raise HeadraceError(f"process {pid} did not stop within {STOP_S:.0f} s; see {here.logs}")
        time.sleep(0.02)
    show({"stopped": pid}, f"stopped; state is kept in {here.home}", as_json=as_json)
