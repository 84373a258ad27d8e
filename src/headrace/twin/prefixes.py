"""Shared beginnings of prompts: how they lie within each other, and which of them a replica has kept.

A prefix may be the longer form of another, block by block. Two requests then share as much as their chains have in
common, and a replica that kept a long one has kept all that it begins with.
"""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Path = tuple[tuple[int, int], ...]  # identities and their tokens, the longest first


class Paths:
    """The chain of each prefix of a trace, worked out when it is first asked for."""

    def __init__(self, chains: NDArray[np.int64]) -> None:
        self._parents: list[int] = chains[:, 0].tolist() if len(chains) else []
        self._tokens: list[int] = chains[:, 1].tolist() if len(chains) else []
        self._known: dict[int, Path] = {}

    def of(self, prefix: int, tokens: int) -> Path:
        """What a request's input begins with; `tokens` is how long its own prefix is. Empty when it has none."""
        if prefix < 0:
            return ()
        rest = self._known.get(prefix)
        if rest is None:
            found = []
            at = self._parents[prefix] if prefix < len(self._parents) else -1
            while at >= 0:
                found.append((at, self._tokens[at]))
                at = self._parents[at]
            rest = self._known[prefix] = tuple(found)
        return ((prefix, tokens), *rest)

    def root(self, prefix: int) -> int:
        """The shortest beginning of a chain, which is what a gateway tells apart; -1 when there is none."""
        path = self.of(prefix, 0)
        return path[-1][0] if path else -1


class Kept:
    """Prefixes in one replica's cache, up to `room_tokens`; those used longest ago make room, long ones first."""

    __slots__ = ("_kept", "_room", "_tokens")

    def __init__(self, room_tokens: int) -> None:
        self._room = room_tokens
        self._tokens = 0
        self._kept: OrderedDict[int, tuple[int, int]] = OrderedDict()  # tokens from the start, and beyond its parent

    def take(self, path: Sequence[tuple[int, int]]) -> int:
        """How many tokens of a prompt's beginning are kept, all of which is kept from now on."""
        found = 0
        for prefix, tokens in path:
            kept = self._kept.get(prefix)
            if kept is not None:
                found = min(kept[0], tokens)
                break
        for place, (prefix, tokens) in enumerate(path):
            known = self._kept.pop(prefix, (0, 0))
            shorter = path[place + 1][1] if place + 1 < len(path) else 0
            most = max(known[0], tokens)
            self._kept[prefix] = most, max(0, most - shorter)
            self._tokens += self._kept[prefix][1] - known[1]
        while self._tokens > self._room and len(self._kept) > 1:
            self._tokens -= self._kept.popitem(last=False)[1][1]
        return found
