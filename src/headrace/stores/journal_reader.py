"""Reads the gateways' journals for the bookkeeper: entries from a position, and the end of what a dead gateway owed.

Never writes a journal and never deletes one. A damaged frame stops the reading of that file and is reported.
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
    """All journal files: epochs oldest first, the segments of each in the order they were written."""
    return sorted(folder.glob("*.log"), key=lambda path: (epoch_of(path), segment_of(path)))


def epoch_of(path: Path) -> str:
    """The gateway process a file belongs to."""
    return path.name.split(".")[0]


def segment_of(path: Path) -> int:
    """Which of its epoch's files this is, from 0.

    >>> segment_of(Path("5f-0-77.log")), segment_of(Path("5f-0-77.12.log"))
    (0, 12)
    """
    words = path.name.split(".")
    return int(words[1]) if len(words) == 3 and words[1].isdigit() else 0


def read(path: Path, position: int, until: int | None = None) -> Piece:
    """Entries from `position` on, not beyond `until`; at most a few MiB at once, so call again while it yields.

    A file that is gone has no entries.
    """
    size = READ_BYTES_MAX if until is None else max(0, min(READ_BYTES_MAX, until - position))
    try:
        with path.open("rb") as file:
            file.seek(position)
            data = file.read(size)
    except FileNotFoundError:
        return Piece([], position, False)
    entries, taken, damaged = unframe(data)
    return Piece(entries, position + taken, damaged)


def owner_alive(path: Path) -> bool:
    """Whether the process that writes this epoch still lives: it holds its first file's lock as long as it does."""
    first = path.with_name(f"{epoch_of(path)}.log")
    try:
        file = os.open(first, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def epoch_alive(folder: Path, epoch: str) -> bool:
    """Whether the gateway process of an epoch still lives."""
    return owner_alive(folder / f"{epoch}.log")


def settle_dead(entries: Iterable[Entry], ended_us: int) -> Iterator[Usage]:
    """What a dead gateway owed: a record for each request that began and did not end, at its last mark.

    `entries` are of one epoch, or what is left of them; `ended_us` is the moment the death was noticed.
    """
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
            incarnation=mark.incarnation if mark else "",
            counted="gateway",
            attempts=1,
            team=start.team,
            label=start.label,
            sent_us=start.arrived_us if mark else 0,
            left_us=max(mark.at_us, start.arrived_us) if mark else 0,
            error="the gateway that carried this request ended before it did",
        )
