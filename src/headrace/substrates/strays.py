"""Ends processes that escaped: grandchildren in a session of their own, found by the mark they inherited.

The kernel ends the host's children with it, and a worker's group is ended with the worker; a helper that an engine put
in another session outlives both, and would hold its memory and devices. Other users' processes are not seen.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path


def end_strays(name: str, value_start: str) -> int:
    """SIGKILL every process whose environment has variable `name` beginning with `value_start`; how many."""
    mark, ended = f"\0{name}={value_start}".encode(), 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if mark in b"\0" + (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
                ended += 1
    return ended
