"""What a child process may do: dies with its parent, gains no privileges, has no secrets and bounded resources.

Called between fork and exec, in a process with one thread. A limit on address space is not set: engines map weights
and reserve caches they never touch, so it would bound the wrong thing.
"""

import ctypes
import os
import resource
import signal
from collections.abc import Callable, Mapping
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_OPEN_FILES_MAX: Final = 65_536
_REPLICA_OOM_SCORE: Final = 500  # the kernel takes a replica before it takes the gateway
_libc = ctypes.CDLL(None, use_errno=True)


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker: what a program needs to run, and what its spec gives; nothing inherited."""
    inherited = {
        name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH") if name in os.environ
    }
    return {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1", **inherited, **more}


def bound_worker(parent: int) -> Callable[[], None]:
    """For a replica: dies with `parent`, no new privileges, no core dumps, first to go when memory ends."""

    def before_exec() -> None:
        die_with(parent)
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _open_files()
        try:
            with open("/proc/self/oom_score_adj", "w") as score:
                score.write(str(_REPLICA_OOM_SCORE))
        except OSError:
            return  # a container may forbid it; it is a preference, not a wall

    return before_exec


def bound_part(parent: int) -> Callable[[], None]:
    """For a gateway or the controller: dies with `parent`, no new privileges, no core dumps that hold keys."""

    def before_exec() -> None:
        die_with(parent)
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _open_files()

    return before_exec


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # the parent ended between fork and here: the signal would never come


def _open_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
