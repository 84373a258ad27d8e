"""Moves the gateways' journals into the store, and writes what dead gateways owed.

A record is kept under its request's id, so reading it twice keeps it once; a journal is deleted only after what it held
is committed. When the store cannot be written nothing is lost: the journals wait.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from headrace import telemetry
from headrace.control.metrics import Metrics
from headrace.errors import Transient
from headrace.ports import Clock, Store
from headrace.state.usage import Begun, Entry, Progress, Usage

EVERY_S: Final = 0.1


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

    def catch_up(self) -> int:
        """Read what there is; how many records were new. Raises Transient when the store cannot be written."""
        new = 0
        files = self._reader.files(self._folder)
        alive = {self._reader.epoch_of(path) for path in files if self._reader.owner_alive(path)}
        for path in files:
            new += self._read(path)
        for epoch in {self._reader.epoch_of(path) for path in files} - alive:
            mine = [path for path in files if self._reader.epoch_of(path) == epoch]
            for path in mine:
                new += self._read(path)  # what was written between the first reading and the death
            new += self._settle(epoch, mine)
        return new

    def try_to_catch_up(self) -> int:
        """The same, for the loop: a store that cannot be written is told of, and tried again later."""
        try:
            return self.catch_up()
        except Transient as error:
            telemetry.logger().error("books.waiting", reason=error.message)
            return 0

    def _read(self, path: Path) -> int:
        name, new = path.name, 0
        mark = self._marks.get(name, 0)
        while True:
            position = self._positions.get(name, 0)
            known = position < mark  # read by an earlier controller: only who is still open is of interest
            piece = self._reader.read(path, position, mark if known else None)
            if piece.position == position:
                if piece.damaged:
                    telemetry.logger().error("journal.damaged", file=name, position=position)
                    self._positions[name] = path.stat().st_size
                return new
            rows = self._sort(self._reader.epoch_of(path), piece.entries)
            if not known:
                new += self._store.usage_add(rows, {name: piece.position})
                self._marks[name] = piece.position
                for row in rows:
                    self._metrics.ended(row)
            self._positions[name] = piece.position

    def _sort(self, epoch: str, entries: list[Entry]) -> list[Usage]:
        """The ended ones; those that have only begun are remembered."""
        waiting = self._open.setdefault(epoch, {})
        rows = []
        for entry in entries:
            match entry:
                case Begun():
                    waiting[entry.request] = [entry]
                case Progress():
                    if entry.request in waiting:
                        waiting[entry.request][1:] = [entry]
                case Usage():
                    waiting.pop(entry.request, None)
                    rows.append(entry)
        return rows

    def _settle(self, epoch: str, files: list[Path]) -> int:
        """A gateway is gone: write what it owed, then forget its files."""
        owed = [entry for entries in self._open.get(epoch, {}).values() for entry in entries]
        rows = list(self._reader.settle_dead(owed, self._clock.now_us()))
        new = self._store.usage_add(rows, {})
        for row in rows:
            self._metrics.ended(row)
        for path in files:
            path.unlink(missing_ok=True)
            self._positions.pop(path.name, None)
            self._marks.pop(path.name, None)
            self._store.mark_drop(path.name)
        self._open.pop(epoch, None)
        return new
