"""Reads the gateways' journals for the bookkeeper: entries from a position, and the end of what a dead gateway owed.

Never writes a journal; deletes one only when told. A damaged frame stops the reading of that file and is reported.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from headrace.state.usage import Begun, Entry, Progress, Usage
from headrace.stores.framing import unframe

READ_BYTES_MAX: Final = 4 << 20


class Piece(NamedTuple):
    """Entries read from one file, where to read on, and whether the file is damaged there."""

    entries: list[Entry]
    position: int
    damaged: bool


def files(folder: Path) -> list[Path]:
    """All journal files, oldest first."""
    return sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns) if folder.is_dir() else []


def epoch_of(path: Path) -> str:
    """The gateway process a file belongs to."""
    return path.name.split(".")[0]


def read(path: Path, position: int, until: int | None = None) -> Piece:
    """Entries from `position` on, not beyond `until`; at most a few MiB at once, so call again while it yields."""
    size = READ_BYTES_MAX if until is None else min(READ_BYTES_MAX, until - position)
    with path.open("rb") as file:
        file.seek(position)
        entries, taken, damaged = unframe(file.read(size))
    return Piece(entries, position + taken, damaged)


def owner_alive(path: Path) -> bool:
    """Whether the process that writes this file still lives: it holds the file's lock as long as it does."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def settle_dead(entries: Iterable[Entry], ended_us: int) -> Iterator[Usage]:
    """What a dead gateway owed: a record for each request that began and did not end, at its last mark."""
    begun: dict[str, Begun] = {}
    marks: dict[str, Progress] = {}
    for entry in entries:
        match entry:
            case Begun():
                begun[entry.request] = entry
            case Progress():
                marks[entry.request] = entry
            case Usage():
                begun.pop(entry.request, None)
    for request, start in begun.items():
        mark = marks.get(request)
        yield Usage(
            request=request,
            epoch=start.epoch,
            tenant=start.tenant,
            key=start.key,
            model=start.model,
            task=start.task,
            outcome="failed",
            status=502,
            code="gateway_lost",
            arrived_us=start.arrived_us,
            ended_us=max(ended_us, start.arrived_us),
            stream=start.stream,
            version=mark.version if mark else "",
            replica=mark.replica if mark else "",
            output_tokens=mark.output_tokens if mark else 0,
            counted="gateway",
            attempts=1,
            error="the gateway that carried this request ended before it did",
        )
