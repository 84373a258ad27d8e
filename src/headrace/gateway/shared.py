"""Counters that the gateway workers of one machine share without locks: in flight, and what was used this minute.

One mapped file, one region a worker, each cell written by its worker alone; a reader adds up the regions. A worker
that starts empties its own region, so what a killed one left behind is gone with its successor. Two workers may pass
a limit in the same microsecond, so a limit may be passed by at most the number of workers less one.
"""

import mmap
import os
import zlib
from pathlib import Path
from typing import Final, NamedTuple

SLOTS: Final = 2_048
_FIELDS: Final = 5  # tag, in flight, window start, requests, tokens
_CELL_BYTES: Final = 8
_REGION: Final = SLOTS * _FIELDS
WINDOW_US: Final = 60_000_000


class Spent(NamedTuple):
    """What all workers together have at work and used in their current minute; `resets_us` is when the oldest ends."""

    in_flight: int
    requests: int
    tokens: int
    resets_us: int


class Counters:
    """The shared counters as one worker writes them."""

    def __init__(self, path: Path, workers: int, index: int) -> None:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = workers * _REGION * _CELL_BYTES
            if os.fstat(file).st_size < size:
                os.ftruncate(file, size)
            self._map = mmap.mmap(file, size)
        finally:
            os.close(file)
        self._cells = memoryview(self._map).cast("q")
        self._workers = workers
        self._own = index * _REGION
        self._places: dict[str, int] = {}
        own = self._cells[self._own : self._own + _REGION]
        for number in range(_REGION):
            own[number] = 0

    @property
    def alone(self) -> bool:
        """Whether there is no other worker."""
        return self._workers == 1

    def flying(self, name: str, change: int) -> None:
        """One more, or one less, at work for this name."""
        self._cells[self._place(name) + 1] += change

    def spend(self, name: str, requests: int, tokens: int, now_us: int) -> None:
        """Count into this minute's window, which begins with its first use."""
        cells, at = self._cells, self._place(name)
        if now_us - cells[at + 2] >= WINDOW_US:
            cells[at + 2], cells[at + 3], cells[at + 4] = now_us, 0, 0
        cells[at + 3] += requests
        cells[at + 4] += tokens

    def spent(self, name: str, now_us: int) -> Spent:
        """Over all workers."""
        if self._workers == 1:
            _, flying, start, requests, tokens = self._cells[(at := self._place(name)) : at + _FIELDS]
            if now_us - start < WINDOW_US:
                return Spent(flying, requests, tokens, start + WINDOW_US)
            return Spent(flying, 0, 0, 0)
        flying, requests, tokens, resets_us = 0, 0, 0, 0
        tag = _tag(name)
        for worker in range(self._workers):
            place = self._find(worker * _REGION, tag)
            if place is None:
                continue
            flying += self._cells[place + 1]
            start = self._cells[place + 2]
            if now_us - start < WINDOW_US:
                requests += self._cells[place + 3]
                tokens += self._cells[place + 4]
                resets_us = min(resets_us or start + WINDOW_US, start + WINDOW_US)
        return Spent(flying, requests, tokens, resets_us)

    def others(self, name: str) -> int:
        """At work for this name in the other workers."""
        tag, total = _tag(name), 0
        for worker in range(self._workers):
            if worker * _REGION != self._own and (at := self._find(worker * _REGION, tag)) is not None:
                total += self._cells[at + 1]
        return total

    def _place(self, name: str) -> int:
        """Where this worker counts a name; made at its first use. A full region gives its least busy places away."""
        known = self._places.get(name)
        if known is not None:
            return known
        tag = _tag(name)
        at = self._find(self._own, tag)
        if at is None:
            at = self._free(tag)
            self._cells[at + 1] = self._cells[at + 2] = self._cells[at + 3] = self._cells[at + 4] = 0
            self._cells[at] = tag
        self._places[name] = at
        return at

    def _find(self, region: int, tag: int) -> int | None:
        start = tag % SLOTS
        for step in range(16):
            at = region + ((start + step) % SLOTS) * _FIELDS
            if self._cells[at] == tag:
                return at
        return None

    def _free(self, tag: int) -> int:
        start = tag % SLOTS
        places = [self._own + ((start + step) % SLOTS) * _FIELDS for step in range(16)]
        for at in places:
            if not self._cells[at]:
                return at
        oldest = min(places, key=lambda at: (self._cells[at + 1], self._cells[at + 2]))
        self._places = {name: at for name, at in self._places.items() if at != oldest}
        return oldest


def _tag(name: str) -> int:
    data = name.encode()
    return (zlib.crc32(data) << 30) ^ zlib.adler32(data) | 1
