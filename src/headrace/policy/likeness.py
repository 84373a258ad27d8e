"""How alike two answers to the same request are, in scores from 0 to 1. Nothing of the answers is kept.

Texts are compared as words, at most `WORDS_MAX` of each, so that a comparison takes some two milliseconds at most.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from headrace.wire.said import Said

WORDS_MAX: Final = 1_000


def score(old: Said, new: Said) -> float:
    """By what was answered: the mean cosine of vectors, the correlation of rankings, shared calls, shared words."""
    if old.vectors or new.vectors:
        return mean_cosine(old.vectors, new.vectors)
    if old.ranking or new.ranking:
        return rank_score(old.ranking, new.ranking)
    if old.calls or new.calls:
        same = sum(one == other for one, other in zip(old.calls, new.calls, strict=False))
        return same / max(len(old.calls), len(new.calls))
    return overlap(old.text.split(), new.text.split())


def similarity(old: Said, new: Said) -> float:
    """By word edits; of vectors and rankings, their score."""
    if old.vectors or new.vectors or old.ranking or new.ranking:
        return score(old, new)
    return edit_similarity(old.text.split()[:WORDS_MAX], new.text.split()[:WORDS_MAX])


def same(old: Said, new: Said) -> bool:
    """Word for word, and the same calls; of vectors, the same direction to six digits."""
    if old.vectors or new.vectors:
        return len(old.vectors) == len(new.vectors) and mean_cosine(old.vectors, new.vectors) > 1 - 1e-6
    return (old.text.split(), old.calls, old.ranking) == (new.text.split(), new.calls, new.ranking)


def size(said: Said) -> int:
    """Words, vectors or ranks."""
    return len(said.vectors) or len(said.ranking) or len(said.text.split())


def overlap(old: Sequence[str], new: Sequence[str]) -> float:
    """F1 of the words two texts share, each as often as it stands in both.

    >>> round(overlap("the red house".split(), "the blue house here".split()), 3)
    0.571
    """
    if not old or not new:
        return float(not old and not new)
    shared = sum((Counter(old) & Counter(new)).values())
    return 2 * shared / (len(old) + len(new))


def edit_similarity(old: Sequence[str], new: Sequence[str]) -> float:
    """1 less the words to put in, take out or change, over the longer text's.

    Source: H. Hyyro, A bit-vector algorithm for computing Levenshtein and Damerau edit distances, 2003: a column of
    the table is one integer.

    >>> edit_similarity("a b c d".split(), "a x c".split())
    0.5
    """
    longest = max(len(old), len(new))
    if not old or not new:
        return float(not longest)
    places: dict[str, int] = {}
    for at, word in enumerate(old):
        places[word] = places.get(word, 0) | 1 << at
    full, top = (1 << len(old)) - 1, 1 << len(old) - 1
    up, down, distance = full, 0, len(old)
    for word in new:
        here = places.get(word, 0)
        diagonal = (((here & up) + up) ^ up) | here | down
        more, less = down | ~(diagonal | up) & full, diagonal & up
        distance += bool(more & top) - bool(less & top)
        more, less = (more << 1 | 1) & full, less << 1 & full
        up, down = less | ~(diagonal | more) & full, more & diagonal
    return 1 - distance / longest


def mean_cosine(old: Sequence[Sequence[float]], new: Sequence[Sequence[float]]) -> float:
    """Over pairs of vectors; 0 where their number or their dimensions differ, and for opposite ones."""
    if len(old) != len(new) or any(len(one) != len(other) for one, other in zip(old, new, strict=True)):
        return 0.0
    return sum(_cosine(one, other) for one, other in zip(old, new, strict=True)) / len(old)


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    length = math.hypot(*one) * math.hypot(*other)
    if not length:
        return float(not any(one) and not any(other))
    return min(1.0, max(0.0, sum(a * b for a, b in zip(one, other, strict=True)) / length))


def rank_score(old: Sequence[int], new: Sequence[int]) -> float:
    """Spearman's rank correlation, from 0 (reversed) to 1 (the same order); who is missing in one stands at its end.

    >>> rank_score((0, 1, 2), (0, 1, 2)), rank_score((0, 1, 2), (2, 1, 0))
    (1.0, 0.0)
    """
    every = sorted({*old, *new})
    if len(every) < 2:
        return float(tuple(old) == tuple(new))
    first, second = _ranks(old, every), _ranks(new, every)
    mean = (len(every) - 1) / 2
    spread = [sum((rank - mean) ** 2 for rank in ranks) for ranks in (first, second)]
    shared = sum((one - mean) * (other - mean) for one, other in zip(first, second, strict=True))
    return (1 + shared / math.sqrt(spread[0] * spread[1])) / 2 if all(spread) else 0.0


def _ranks(order: Sequence[int], every: Sequence[int]) -> list[float]:
    places = {item: float(place) for place, item in enumerate(order)}
    last = (len(order) + len(every) - 1) / 2
    return [places.get(item, last) for item in every]
