"""The cloud of this machine, looked at from outside: whether it runs, and whether its address is free.

Used by `up`, `down` and `doctor`. Starts and stops nothing.
"""

import socket
from pathlib import Path

from headrace.settings import DEFAULT_LISTEN, Settings


def running(here: Settings) -> int | None:
    """The host's process id, when it is this home's and alive."""
    try:
        pid = int((here.run / "host.pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if is_host(here, pid) else None


def is_host(here: Settings, pid: int) -> bool:
    """Whether a process is this home's host, and alive."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    ours = b"headrace.assembly" in line and b"host" in line and str(here.home).encode() in line
    return ours and state != "Z"


def address_problem(here: Settings) -> str:
    """Why nothing could listen there, with the fix; empty when something could."""
    fix = "give another with: headrace up --listen HOST:PORT"
    if here.port == 0:
        return f"{here.listen}: a port must be given, like --listen {DEFAULT_LISTEN}"
    try:
        family = socket.getaddrinfo(here.host, here.port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((here.host, here.port))
    except OSError as error:
        return f"{here.listen}: {error.strerror}; {fix}"
    return ""
