"""What a child process may do: dies with its parent, gains no privileges, has no secrets and bounded reach.

Called by the host, which is a process of one thread, between fork and exec. A worker is taken to be hostile: it reads
programs and its weights, writes its scratch folder and its socket, and where the kernel has Landlock nothing else of
the file system is open to it, nor TCP when it listens on a unix socket, nor signals to others. A limit on address
space is not set: engines map weights and reserve caches they never touch, so it would bound the wrong thing.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from headrace.substrates import landlock

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_OPEN_FILES_MAX: Final = 65_536
_REPLICA_OOM_SCORE: Final = 500  # the kernel takes a replica before it takes the gateway
_INHERITED: Final = ("PATH", "LANG", "LD_LIBRARY_PATH")  # the last one finds a GPU's driver in containers
_FOR_CLIENTS: Final = ("HEADRACE_API_KEY", "HEADRACE_BASE_URL")
_PROGRAMS: Final = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc",
    "/opt",
    "/nix",
    "/sys",
    "/dev",
)
# Not all of /proc: there the environment of other processes can be read, which holds an operator's secrets.
_KERNEL: Final = (
    "cpuinfo",
    "meminfo",
    "stat",
    "version",
    "filesystems",
    "devices",
    "loadavg",
    "uptime",
    "driver",
    "sys",
)
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "kfd", "dri")
_libc = ctypes.CDLL(None, use_errno=True)


def level() -> str:
    """What holds a worker here besides no-new-privileges, for people: `none` or what Landlock covers."""
    return landlock.level(landlock.abi())


def worker_environment(scratch: Path, incarnation: str, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker: what a program needs to run, and what its spec gives; nothing else is inherited."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    own = {"HOME": str(scratch), "TMPDIR": str(scratch), "HEADRACE_INCARNATION": incarnation}
    return {**inherited, "PYTHONDONTWRITEBYTECODE": "1", **more, **own}


def part_environment() -> dict[str, str]:
    """The environment of the controller and the gateways: ours, without the client's key."""
    return {name: value for name, value in os.environ.items() if name not in _FOR_CLIENTS}


def worker_rules(argv: Sequence[str], env: Mapping[str, str], address: str, scratch: Path) -> int | None:
    """Landlock rules for a worker, to be closed by the caller; None where the kernel has none.

    Readable are programs, this interpreter, and every path that the command line or the environment names, with what
    those folders link to. Raises OSError when the kernel has Landlock and refuses the rules.
    """
    if not landlock.abi():
        return None
    allowed = [(Path(place), landlock.READ) for place in (*_PROGRAMS, *_interpreter(), *_environment_of(argv[0]))]
    allowed += [(place, landlock.READ) for place in _named((*argv, *env.values()))]
    allowed += [(Path("/proc") / name, landlock.READ) for name in _KERNEL]
    allowed += [(Path("/dev") / name, landlock.DEVICE | landlock.READ_DIR) for name in _DEVICES]
    allowed += [(place, landlock.DEVICE | landlock.READ_DIR) for place in Path("/dev").glob("nvidia*")]
    allowed += [(Path("/dev/shm"), landlock.SCRATCH), (scratch, landlock.SCRATCH)]  # noqa: S108 - shared memory
    if address.startswith("unix:"):
        allowed.append((Path(address.removeprefix("unix:")).parent, landlock.SOCKETS))
    else:  # programs of others that start several processes look at them there
        allowed.append((Path("/proc"), landlock.READ))
    return landlock.ruleset(allowed, tcp=not address.startswith("unix:"))


def bound_worker(parent: int, rules: int | None) -> Callable[[], None]:
    """For a replica: dies with `parent`, no new privileges, no core dumps, first to go when memory ends, `rules`."""

    def before_exec() -> None:
        _bound(parent)
        _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # else, inherited from the host, the next file would be root's
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(
                str(_REPLICA_OOM_SCORE)
            )  # a container may forbid it; it is a preference, not a wall
        if rules is not None:
            landlock.allow(rules, Path("/proc/self"), landlock.READ)
            landlock.take_on(rules)

    return before_exec


def bound_part(parent: int) -> Callable[[], None]:
    """For a gateway or the controller: dies with `parent`, no new privileges, no core dumps that hold keys."""
    return lambda: _bound(parent)


def keep_to_itself() -> None:
    """Have the kernel refuse this process's environment and memory to others of its user, unless they are root."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # the parent ended between fork and here: the signal would never come


def _bound(parent: int) -> None:
    die_with(parent)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))


def _interpreter() -> set[str]:
    """Where this Python, its libraries and this program lie."""
    package = Path(__file__).resolve().parents[2]
    return {sys.prefix, sys.base_prefix, str(package), str(Path(sys.executable).resolve().parent)}


def _environment_of(program: str) -> set[str]:
    """The virtual environment a program belongs to, and the interpreter that one was made from; empty when none."""
    prefix = Path(program).parent.parent
    if not program.startswith("/") or not (prefix / "pyvenv.cfg").is_file():
        return set()
    return {str(prefix), str((prefix / "bin" / "python").resolve().parent.parent)}


def _named(words: Sequence[str]) -> set[Path]:
    """The files and folders that words name, alone or after a `=`; of a folder also where its links lead."""
    found: set[Path] = set()
    for word in words:
        for text in (word, word.rpartition("=")[2]):
            place = Path(text)
            if not text.startswith("/") or place == Path("/") or not place.exists():
                continue
            found.add(place.resolve())
            if place.is_dir():
                found.update(inside.resolve() for inside in place.iterdir() if inside.is_symlink())
    return found
