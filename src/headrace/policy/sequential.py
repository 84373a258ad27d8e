"""Is the new version worse? A test that may be looked at after every request without deceiving itself.

In each batch both versions served requests drawn from one stream by a hash, so when the versions are equal, which of
them the bad ones fell on is chance alone, whatever the rate of bad ones is just then. A test martingale collects the
evidence against that; by Ville's inequality it ever reaches 1/alpha with a probability of at most alpha.
"""

import math
from collections.abc import Sequence
from typing import Final

ODDS: Final = (2.0, 3.0, 6.0, 20.0)  # how much worse it may be, in odds; each has an equal part of the stake


def grown(logs: Sequence[float], old: tuple[int, int], new: tuple[int, int]) -> tuple[float, ...]:
    """The evidence after one more batch: `old` and `new` are (requests, bad ones among them).

    Formula: log e += x log t - log sum_j P(j) t^j, for each odds ratio t, with x bad ones in the new version and
    P(j) = C(n1, j) C(n0, m - j) / C(n0 + n1, m) the hypergeometric law that holds when the versions are equal.
    Units: natural logarithms.
    Source: R. A. Fisher, The Logic of Inductive Inference, 1935 (conditioning on the margins); J. Ville, Etude
    critique de la notion de collectif, 1939; R. Turner, A. Ly, P. Grunwald, arXiv:2106.02693 (e-variables).
    Assumes: given how many ended in a batch, equal versions are exchangeable in it. An outage of both is no evidence.

    >>> [round(value, 3) for value in grown((), (19, 0), (1, 1))]
    [0.644, 1.003, 1.569, 2.328]
    >>> grown((), (0, 0), (7, 7))
    (0.0, 0.0, 0.0, 0.0)
    """
    (n0, m0), (n1, x) = old, new
    if not (0 <= m0 <= n0 and 0 <= x <= n1):
        raise ValueError(f"{x} bad of {n1} and {m0} bad of {n0}; give from 0 to as many as there are")
    logs = tuple(logs) or (0.0,) * len(ODDS)
    m = m0 + x
    if not (m and n0 and n1):
        return logs
    ways = [(j, _choose(n1, j) + _choose(n0, m - j)) for j in range(max(0, m - n0), min(n1, m) + 1)]
    every = _choose(n0 + n1, m)
    return tuple(
        log + x * math.log(t) - _log_sum([way - every + j * math.log(t) for j, way in ways])
        for log, t in zip(logs, ODDS, strict=True)
    )


def looks(count: int, samples: int) -> int:
    """How many of the looks at a growing sample are due by `count`: at an eighth of `samples`, and at each doubling.

    >>> [looks(count, 50) for count in (5, 6, 12, 25, 50, 99, 100)]
    [0, 1, 2, 3, 4, 4, 5]
    """
    due = 0
    while count >= samples * 2**due // 8:
        due += 1
    return due


def looked(look: int, old: tuple[int, int], new: tuple[int, int]) -> float:
    """The log evidence of look number `look`, from 1 on, where `old` was complete before `new` began.

    Formula: -log(k (k + 1) p), p = sum of P(j) over j from x on, with P as in `grown`.
    Source: R. A. Fisher's exact test, one-sided; 1 / (k (k + 1)) of the risk goes to look k, and all of them sum to 1.
    Assumes: equal versions are exchangeable over both samples; when is looked does not depend on what came out.

    >>> round(looked(1, (20, 0), (5, 5)), 2), looked(1, (0, 0), (5, 5)) <= 0
    (10.19, True)
    """
    (n0, m0), (n1, x) = old, new
    m = m0 + x
    every = _choose(n0 + n1, m)
    ways = [_choose(n1, j) + _choose(n0, m - j) - every for j in range(max(x, m - n0), min(n1, m) + 1)]
    return -_log_sum(ways) - math.log(look * (look + 1))


def evidence(logs: Sequence[float]) -> float:
    """The mean of the martingales, itself one: 1 at first, 1/alpha is enough to believe that the new one is worse.

    >>> evidence(()), round(evidence((math.log(8), -1e9, -1e9, -1e9)), 6)
    (1.0, 2.0)
    """
    return sum(math.exp(min(log, 700.0)) for log in logs) / len(logs) if logs else 1.0


def _choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs))
