"""What pairs of answers say about a version, with how sure that is; and whether it is enough to promote it."""

import math
from typing import Final

from headrace.state.likeness import Agreement

Z: Final = 1.96  # of 95 %
PAIRS_LEAST: Final = 30  # before a mean has an interval, and before a guard lets a version pass


def share(count: int, of: int) -> tuple[float, float]:
    """A proportion's 95 % interval.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
    Units: from 0 to 1. (0, 1) where nothing was counted.

    >>> [round(end, 3) for end in share(9, 10)]
    [0.596, 0.982]
    """
    if not of:
        return 0.0, 1.0
    rate, spread = count / of, Z**2 / of
    middle = (rate + spread / 2) / (1 + spread)
    half = Z * math.sqrt(rate * (1 - rate) / of + spread / (4 * of)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def mean(total: float, squares: float, of: int) -> tuple[float, float]:
    """A mean score's 95 % interval, by the normal law from `PAIRS_LEAST` pairs on; (0, 1) below.

    Scores that happen to be all alike have no spread: it claims no more than Wilson's would of as many that are right.
    """
    if of < PAIRS_LEAST:
        return 0.0, 1.0
    middle = total / of
    half = Z * math.sqrt(max(0.0, squares / of - middle**2) / (of - 1))
    return max(0.0, min(middle - half, middle * of / (of + Z**2))), min(1.0, middle + half)


def found(agreement: Agreement) -> str:
    """In words: the score with its interval and everything counted."""
    pairs = agreement.pairs
    if not pairs:
        return "no answers were compared yet"
    low, high = mean(agreement.score, agreement.score_sq, pairs)
    interval = f" ({low:.3f} to {high:.3f})" if pairs >= PAIRS_LEAST else f" (fewer than {PAIRS_LEAST}: no interval)"
    parts = [
        f"agreement {agreement.score / pairs:.3f}{interval} over {pairs} answers",
        f"the same {_share(agreement.same, pairs)}",
        f"edit similarity {agreement.edit / pairs:.3f}",
        f"ended alike {_share(agreement.ended, pairs)}",
    ]
    if agreement.old_size:
        parts.append(f"length {agreement.new_size / agreement.old_size:.2f} of the other's")
    if agreement.checked:
        new, old = (_share(count, agreement.checked) for count in (agreement.new_valid, agreement.old_valid))
        parts.append(f"kept to schema or tools {new}, the other {old}")
    if agreement.failed:
        parts.append(f"{agreement.failed} copies had no answer")
    return "; ".join(parts)


def lacks(agreement: Agreement, least_percent: int) -> str:
    """Why a version that must agree that much may not be promoted, empty when it may."""
    if not least_percent:
        return ""
    pairs = agreement.pairs
    if pairs < PAIRS_LEAST:
        return f"{pairs} answers were compared, and {PAIRS_LEAST} are needed to tell whether {least_percent} % agree"
    low, _ = mean(agreement.score, agreement.score_sq, pairs)
    if low * 100 >= least_percent:
        return ""
    score = 100 * agreement.score / pairs
    return f"its agreement is {score:.1f} %, {100 * low:.1f} % at least, and must be {least_percent} % for certain"


def _share(count: int, of: int) -> str:
    low, high = share(count, of)
    return f"{100 * count / of:.0f} % ({100 * low:.0f} to {100 * high:.0f})"
