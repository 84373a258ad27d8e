"""Landlock: a process gives up, for itself and its children, what it will not need. Linux 5.13 and later.

Called by `sandbox` alone. The rules are made in the parent, where errors can be told; the child only takes them on.
Where the kernel has less, less is held, and `level` says what. The numbers are the kernel's own interface.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_CREATE, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_NEEDS_ABI: Final = {"files": 1, "TCP": 4, "signals": 6}

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK = 1 << 4, 1 << 5, 1 << 6, 1 << 7, 1 << 8, 1 << 9
MAKE_FIFO, MAKE_BLOCK, MAKE_SYM, REFER, TRUNCATE, IOCTL_DEV = 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15

READ: Final = EXECUTE | READ_FILE | READ_DIR
SOCKETS: Final = MAKE_SOCK | REMOVE_FILE  # to listen under a name and to take it away; what lies there stays closed
DEVICE: Final = READ_FILE | WRITE_FILE | IOCTL_DEV
SCRATCH: Final = (
    READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE | REFER
    | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM
)  # fmt: skip
_FOR_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_ALL_FILES: Final = (1 << 16) - 1
_TCP: Final = 0b11  # bind and connect
_SCOPES: Final = 0b11  # abstract unix sockets of others, signals to others

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """Which version of the interface the kernel has; 0 when it has none."""
    return max(0, int(_libc.syscall(_CREATE, None, 0, _VERSION)))


def level(version: int) -> str:
    """What a kernel of this version can hold, for people.

    >>> level(0), level(3), level(7)
    ('none', 'files', 'files, TCP, signals')
    """
    return ", ".join(what for what, needed in _NEEDS_ABI.items() if version >= needed) or "none"


def ruleset(allowed: Iterable[tuple[Path, int]], *, tcp: bool) -> int:
    """A descriptor of what stays allowed: rights on paths and all beneath them, TCP when `tcp`; the rest is denied.

    Paths that are not there are passed over. Raises OSError when the kernel has no Landlock; the caller closes it.
    """
    version = abi()
    handled = _ALL_FILES & ~(REFER if version < 2 else 0) & ~(TRUNCATE if version < 3 else 0)
    handled &= ~(IOCTL_DEV if version < 5 else 0)
    # What the kernel does not know must not be in the structure at all: it is as long as the version says.
    words = (handled, 0 if tcp else _TCP, _SCOPES)[: 1 if version < 4 else 2 if version < 6 else 3]
    attributes = struct.pack(f"={len(words)}Q", *words)
    rules = _call(_CREATE, attributes, len(attributes), 0)
    try:
        for path, rights in allowed:
            allow(rules, path, rights & handled)
    except OSError:
        os.close(rules)
        raise
    return rules


def take_on(rules: int) -> None:
    """From here on this process may do what the rules allow, and no more. It must have no-new-privileges set."""
    _call(_RESTRICT_SELF, rules, 0)


def allow(rules: int, path: Path, rights: int) -> None:
    """Add rights on a path, if it is there, and on all beneath it. They must be rights that the kernel knows."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights &= -1 if path.is_dir() else _FOR_FILES
        if rights:
            _call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(number: int, *values: int | bytes) -> int:
    done = int(_libc.syscall(number, *values))
    if done < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return done
