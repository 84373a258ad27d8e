"""Counters that the gateway workers of one machine share without locks: in flight, and what was used this minute.

One mapped file, one region a worker, each cell written by its worker alone; a reader adds up the regions. A worker
that starts empties its own region, so what a killed one left behind is gone with its successor. Two workers may pass
a limit in the same microsecond, so a limit may be passed by at most the number of workers less one.

A minute begins at a moment that depends on the name alone, the same in all workers: so all that was used in it is
forgotten at once, and what a refusal says about when to come back is so.
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
    """What all workers together have at work, and used in the minute that ends at `resets_us`."""

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
        self._regions = [worker * _REGION for worker in range(workers)]
        self._own = self._regions[index]
        self._places: dict[str, int] = {}
        own = self._cells[self._own : self._own + _REGION]
        for number in range(_REGION):
            own[number] = 0

    @property
    def alone(self) -> bool:
        """Whether there is no other worker."""
        return len(self._regions) == 1

    def flying(self, name: str, change: int) -> None:
        """One more, or one less, at work for this name."""
        self._cells[(self._places.get(name) or self._place(name)) + 1] += change

    def spend(self, name: str, requests: int, tokens: int, now_us: int) -> None:
        """Count into this minute; `tokens` may be negative, when less was used than had been expected."""
        self.count(name, 0, requests, tokens, now_us)

    def count(self, name: str, change: int, requests: int, tokens: int, now_us: int) -> None:
        """`flying` and `spend` at once, as they come with each request."""
        cells = self._cells
        at = self._places.get(name) or self._place(name)
        if change:
            cells[at + 1] += change
        start = now_us - (now_us - cells[at]) % WINDOW_US  # see `_minute`
        if cells[at + 2] == start:
            requests += cells[at + 3]
            tokens += cells[at + 4]
        else:
            cells[at + 2] = start
        cells[at + 3] = requests
        cells[at + 4] = max(0, tokens)

    def minute(self, name: str, now_us: int) -> int:
        """When the minute of this moment began for this name."""
        return _minute(self._cells[self._places.get(name) or self._place(name)], now_us)

    def spent(self, name: str, now_us: int) -> Spent:
        """Over all workers."""
        cells = self._cells
        own = self._places.get(name) or self._place(name)
        tag, flying, used, requests, tokens = cells[own : own + _FIELDS]
        start = _minute(tag, now_us)
        if len(self._regions) == 1:
            if used != start:
                requests = tokens = 0
            return Spent(flying, requests, tokens, start + WINDOW_US)
        flying = requests = tokens = 0
        for region in self._regions:
            place = own if region == self._own else self._find(region, tag)
            if place is None:
                continue
            flying += cells[place + 1]
            if cells[place + 2] == start:
                requests += cells[place + 3]
                tokens += cells[place + 4]
        return Spent(flying, requests, tokens, start + WINDOW_US)

    def others(self, name: str) -> int:
        """At work for this name in the other workers."""
        tag, total = self._cells[self._place(name)], 0
        for region in self._regions:
            if region != self._own and (at := self._find(region, tag)) is not None:
                total += self._cells[at + 1]
        return total

    def _place(self, name: str) -> int:
        """Where this worker counts a name; made at its first use. A full region gives its least busy places away."""
        known = self._places.get(name)
        if known is not None:
            return known
        tag = tag_of(name)
        at = self._find(self._own, tag)
        if at is None:
            at = self._free(tag)
            self._cells[at + 1] = self._cells[at + 2] = self._cells[at + 3] = self._cells[at + 4] = 0
            self._cells[at] = tag
        self._places[name] = at
        return at

    def _find(self, region: int, tag: int) -> int | None:
        start = home(tag)
        for step in range(16):
            at = region + ((start + step) % SLOTS) * _FIELDS
            if self._cells[at] == tag:
                return at
        return None

    def _free(self, tag: int) -> int:
        start = home(tag)
        places = [self._own + ((start + step) % SLOTS) * _FIELDS for step in range(16)]
        for at in places:
            if not self._cells[at]:
                return at
        oldest = min(places, key=lambda at: (self._cells[at + 1], self._cells[at + 2]))
        self._places = {name: at for name, at in self._places.items() if at != oldest}
        return oldest


def _minute(tag: int, now_us: int) -> int:
    # Names begin their minutes at different moments, so that not everybody comes back at once.
    return now_us - (now_us - tag) % WINDOW_US


def tag_of(name: str) -> int:
    """What stands for a name in 62 bits, never 0."""
    data = name.encode()
    return (zlib.crc32(data) << 30) ^ zlib.adler32(data) | 1


def home(tag: int, slots: int = SLOTS) -> int:
    """Where the search for a tag begins: by its upper bits, for the lower ones are alike in names that are alike."""
    return (tag >> 30) % slots
