"""Moves the gateways' journals into the store, and writes what dead gateways owed.

A record is kept under its request's id, so reading it twice keeps it once; a journal is deleted only after what it held
is committed. When the store cannot be written nothing is lost: the journals wait.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from headrace import telemetry
from headrace.control.metrics import Metrics
from headrace.errors import Transient
from headrace.ports import Clock, Store
from headrace.state.likeness import Likeness
from headrace.state.usage import Begun, Entry, Progress, Usage

EVERY_S: Final = 0.1
IDLE_S: Final = 1.0
PIECE_BYTES: Final = 64 << 10  # some 20 ms of work, after which others have their turn


class Piece(Protocol):
    """Entries of one journal file."""

    @property
    def entries(self) -> list[Entry]:
        """Whole entries, in order."""
        ...

    @property
    def position(self) -> int:
        """Where to read on."""
        ...

    @property
    def damaged(self) -> bool:
        """Whether what follows cannot be read."""
        ...


class Reader(Protocol):
    """How journals are read; `stores.journal_reader` is one."""

    def files(self, folder: Path) -> list[Path]:
        """All journals, oldest first."""
        ...

    def epoch_of(self, path: Path) -> str:
        """The gateway process a file belongs to."""
        ...

    def read(self, path: Path, position: int, until: int | None = None) -> Piece:
        """Entries from a position on."""
        ...

    def owner_alive(self, path: Path) -> bool:
        """Whether somebody still writes the file."""
        ...

    def settle_dead(self, entries: Iterable[Entry], ended_us: int) -> Iterator[Usage]:
        """The records a dead gateway owed."""
        ...


class Bookkeeper:
    """Reads every journal to its end, again and again."""

    def __init__(self, folder: Path, store: Store, reader: Reader, metrics: Metrics, clock: Clock) -> None:
        self._folder = folder
        self._store = store
        self._reader = reader
        self._metrics = metrics
        self._clock = clock
        self._marks = store.marks()
        self._positions: dict[str, int] = {}
        self._open: dict[str, dict[str, list[Entry]]] = {}
        self._began_in: dict[str, str] = {}
        self._turn = asyncio.Lock()
        self._caught_up_us = 0
        self.charged: Callable[[], None] = lambda: None  # something was charged
        self.ended: Callable[[str], None] = lambda _: None  # a gateway is gone and settled
        self.heard: Callable[[Usage], None] = lambda _: None  # a request ended
        self.compared: Callable[[Likeness], None] = lambda _: None  # a version's answer with another's

    def settled_until(self, label: str = "") -> int:
        """Every request that arrived before this moment has ended and is in the store, or never was.

        Of those alone whose label begins with one, if it is given.
        """
        began = [
            found[0].arrived_us
            for waiting in self._open.values()
            for found in waiting.values()
            if isinstance(found[0], Begun) and found[0].label.startswith(label)
        ]
        return min([self._caught_up_us, *began])

    def living(self) -> set[str]:
        """The gateways that still write a journal."""
        files = self._reader.files(self._folder)
        return {self._reader.epoch_of(path) for path in files if self._reader.owner_alive(path)}

    async def catch_up(self) -> int:
        """Read what there is; how many records were new. Raises Transient when the store cannot be written."""
        async with self._turn:
            new, began_us = 0, self._clock.now_us()
            files = self._reader.files(self._folder)
            alive = {self._reader.epoch_of(path) for path in files if self._reader.owner_alive(path)}
            for path in files:
                new += await self._read(path)
            for epoch in {self._reader.epoch_of(path) for path in files}:
                mine = [path for path in files if self._reader.epoch_of(path) == epoch]
                if epoch in alive:
                    self._drop_full(epoch, sorted(mine, key=lambda path: (len(path.name), path.name)))
                    continue
                for path in mine:
                    new += await self._read(path)  # what was written between the first reading and the death
                new += self._settle(epoch, mine)
            self._caught_up_us = began_us
            if new:
                self.charged()
            return new

    async def try_to_catch_up(self) -> int:
        """The same, for the loop: a store that cannot be written is told of, and tried again later."""
        try:
            return await self.catch_up()
        except Transient as error:
            telemetry.logger().error("books.waiting", reason=error.message)
            return 0

    def begun(self, request: str) -> Begun | None:
        """A request that is at work: begun, and not ended as far as was read."""
        for waiting in self._open.values():
            if request in waiting:
                first = waiting[request][0]
                return first if isinstance(first, Begun) else None
        return None

    async def _read(self, path: Path) -> int:
        name, new = path.name, 0
        mark = self._marks.get(name, 0)
        while True:
            position = self._positions.get(name, 0)
            known = position < mark  # read by an earlier controller: only who is still open is of interest
            end = position + PIECE_BYTES
            if _size(path) <= position:
                return new
            piece = self._reader.read(path, position, min(end, mark) if known else end)
            if piece.position == position and not piece.damaged:  # nothing, or one entry larger than a piece
                piece = self._reader.read(path, position)
            if piece.position == position:
                if piece.damaged:
                    telemetry.logger().error("journal.damaged", file=name, position=position)
                    self._positions[name] = _size(path)
                return new
            rows = self._sort(self._reader.epoch_of(path), name, piece.entries)
            if not known:
                new += self._store.usage_add(rows, {name: piece.position})
                self._marks[name] = piece.position
                self._tell(rows)
                for entry in piece.entries:
                    if isinstance(entry, Likeness):
                        self.compared(entry)
            self._positions[name] = piece.position
            await asyncio.sleep(0)

    def _tell(self, rows: list[Usage]) -> None:
        for row in rows:
            self._metrics.ended(row)
            self.heard(row)

    def _sort(self, epoch: str, name: str, entries: list[Entry]) -> list[Usage]:
        """The ended ones; those that have only begun are remembered."""
        waiting = self._open.setdefault(epoch, {})
        rows = []
        for entry in entries:
            match entry:
                case Begun():
                    waiting[entry.request] = [entry]
                    self._began_in[entry.request] = name
                case Progress():
                    if entry.request in waiting:
                        waiting[entry.request][1:] = [entry]
                case Usage():
                    waiting.pop(entry.request, None)
                    self._began_in.pop(entry.request, None)
                    rows.append(entry)
        return rows

    def _settle(self, epoch: str, files: list[Path]) -> int:
        """A gateway is gone: write what it owed, then forget its files."""
        owed = [entry for entries in self._open.get(epoch, {}).values() for entry in entries]
        rows = list(self._reader.settle_dead(owed, self._clock.now_us()))
        new = self._store.usage_add(rows, {})
        self._tell(rows)
        for request in self._open.pop(epoch, {}):
            self._began_in.pop(request, None)
        self.ended(epoch)
        for path in files:  # last: as long as one is there, what could not be kept is tried again
            self._delete(path)
        return new

    def _drop_full(self, epoch: str, segments: list[Path]) -> None:
        """Delete what a living gateway has finished with: all but its first file, which it holds locked as the sign
        of its life, the one it writes, and those in which a request began that has not ended.
        """
        needed = {self._began_in[request] for request in self._open.get(epoch, {})}
        for path in segments[1:-1]:
            if path.name not in needed and self._positions.get(path.name, 0) >= _size(path):
                self._delete(path)

    def _delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._positions.pop(path.name, None)
        self._marks.pop(path.name, None)
        self._store.mark_drop(path.name)


def _size(path: Path) -> int:
    return path.stat().st_size
