"""An interval holds what it claims to; a guard lets nothing pass on too little."""

import random

import pytest

from headrace.policy import agreement
from headrace.policy.agreement import PAIRS_LEAST, lacks
from headrace.state.likeness import Agreement, Likeness


def over(*scores: float) -> Agreement:
    found = Agreement()
    for score in scores:
        found = found.plus(Likeness(model="m", version="v2", against="v1", at_us=1, score=score, same=score == 1))
    return found


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """95 of 100, a few less for small counts, over 2,000 draws each."""
    rng = random.Random(7)
    for truth, pairs in ((0.5, 40), (0.9, 60), (0.97, 200)):
        inside = inside_mean = 0
        for _ in range(2_000):
            right = sum(rng.random() < truth for _ in range(pairs))
            low, high = agreement.share(right, pairs)
            inside += low <= truth <= high
            scores = [rng.betavariate(truth * 10, (1 - truth) * 10) for _ in range(pairs)]
            low, high = agreement.mean(sum(scores), sum(score**2 for score in scores), pairs)
            inside_mean += low <= truth <= high
        assert inside >= 2_000 * 0.93
        assert inside_mean >= 2_000 * 0.92


@pytest.mark.parametrize(
    ("found", "least", "words"),
    [
        (over(*[1.0] * 200), 95, ""),
        (over(*[1.0] * (PAIRS_LEAST - 1)), 50, f"{PAIRS_LEAST} are needed"),
        (over(*[1.0] * 40), 95, "100.0 %, 91.2 % at least"),  # all alike, and still no proof of so much
        (over(*[0.8] * 200), 90, "80.0 %"),
        (over(), 0, ""),
    ],
)
def test_a_guard(found: Agreement, least: int, words: str) -> None:
    told = lacks(found, least)
    assert (told == "") is (words == "")
    assert words in told


def test_a_copy_without_an_answer_is_one_that_does_not_agree() -> None:
    failed = Likeness(model="m", version="v2", against="v1", at_us=1, failed=True)
    found = over(*[1.0] * 100)
    for _ in range(100):
        found = found.plus(failed)
    assert "agreement 0.500" in agreement.found(found)
    assert "100 copies had no answer" in agreement.found(found)
    assert lacks(found, 60)


def test_what_is_known_in_words() -> None:
    told = agreement.found(over(*[1.0, 0.5] * 50))
    assert told.startswith("agreement 0.750 (0.701 to 0.799) over 100 answers; the same 50 % (40 to 60)")
    assert "no interval" in agreement.found(over(1.0))
    assert agreement.found(Agreement()) == "no answers were compared yet"
