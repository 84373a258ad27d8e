"""Named rows of integers that the gateway workers of one machine tell each other, without locks.

One mapped file, one region a worker, each row written by its worker alone. A row is read while it is written at
worst once in a great while, and then some of its cells are of a moment before. Names find their rows by a tag of 62
bits in a table of open addresses; a full neighbourhood gives away a row that its worker has nothing in.
"""

import mmap
import os
from pathlib import Path
from typing import Final

from headrace.gateway.shared import home, tag_of
from headrace.policy.sharing import Row

SLOTS: Final = 4_096
_PROBES: Final = 16
_CELLS: Final = 8  # a tag and seven of the row: a line of the processor's cache
_REGION: Final = SLOTS * _CELLS


class SharedRows:
    """`policy.sharing.Rows` over the workers of one machine, as worker `index` of `workers` sees them."""

    def __init__(self, path: Path, workers: int, index: int) -> None:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = workers * _REGION * 8
            if os.fstat(file).st_size < size:
                os.ftruncate(file, size)
            self._cells = memoryview(mmap.mmap(file, size)).cast("q")
        finally:
            os.close(file)
        self._own = index * _REGION
        self._others = [worker * _REGION for worker in range(workers) if worker != index]
        self._places: dict[str, int] = {}  # of this worker's rows
        self._tags: dict[str, int] = {}
        for at in range(self._own, self._own + _REGION, _CELLS):
            self._cells[at + 1] = 0  # nobody waits here any more; what was served stays so

    def put(self, name: str, row: Row) -> None:
        """Tell all siblings."""
        cells, at = self._cells, self._places.get(name)
        if at is None:
            at = self._place(name)
        cells[at + 1], cells[at + 2], cells[at + 3], cells[at + 4], cells[at + 5], cells[at + 6], cells[at + 7] = row

    def own(self, name: str) -> Row | None:
        """What this worker, or the one before it, told last; None when it is forgotten."""
        at = self._find(self._own, self._tag(name))
        return None if at is None else self._row(at)

    def others(self, name: str, *, present: bool = False) -> list[Row]:
        """What each sibling that knows the name told last; `present`: those rows whose first cell is not 0."""
        tag, cells, found = self._tag(name), self._cells, []
        start = home(tag, SLOTS) * _CELLS
        for region in self._others:
            at: int | None = region + start
            if cells[region + start] != tag:
                at = self._find(region, tag)
            if at is not None and (not present or cells[at + 1]):
                found.append(self._row(at))
        return found

    def _row(self, at: int) -> Row:
        first, second, third, fourth, fifth, sixth, last = self._cells[at + 1 : at + 8].tolist()
        return first, second, third, fourth, fifth, sixth, last

    def _tag(self, name: str) -> int:
        tag = self._tags.get(name)
        if tag is None:
            if len(self._tags) > 2 * SLOTS:
                self._tags.clear()
            tag = self._tags[name] = tag_of(name)
        return tag

    def _place(self, name: str) -> int:
        tag = self._tag(name)
        at = self._find(self._own, tag)
        if at is None:
            at = self._free(tag)
            for cell in range(at + 1, at + _CELLS):
                self._cells[cell] = 0
            self._cells[at] = tag
        self._places[name] = at
        return at

    def _find(self, region: int, tag: int) -> int | None:
        """Where a name's row is. Rows are never emptied, only given away: an empty one ends the search."""
        start = home(tag, SLOTS)
        for step in range(_PROBES):
            at = region + (start + step) % SLOTS * _CELLS
            there = self._cells[at]
            if there == tag:
                return at
            if not there:
                return None
        return None

    def _free(self, tag: int) -> int:
        start = home(tag, SLOTS)
        places = [self._own + (start + step) % SLOTS * _CELLS for step in range(_PROBES)]
        for at in places:
            if not self._cells[at]:
                return at
        idle = next((at for at in places if not self._cells[at + 1]), places[0])
        self._places = {name: at for name, at in self._places.items() if at != idle}
        return idle
