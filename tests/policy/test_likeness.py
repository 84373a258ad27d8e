"""Scores are from 0 to 1, 1 for the same answer, and agree with their plain definitions."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.policy import likeness
from headrace.policy.likeness import edit_similarity, mean_cosine, overlap, rank_score
from headrace.wire.said import Said

WORDS = st.lists(st.sampled_from("abcd"), max_size=12)


def edits(one: list[str], other: list[str]) -> int:
    """The whole table, as in the book."""
    row = list(range(len(other) + 1))
    for place, word in enumerate(one, 1):
        before, row[0] = row[0], place
        for at, told in enumerate(other, 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (word != told))
    return row[-1]


@given(WORDS, WORDS)
def test_edit_similarity_counts_the_fewest_edits(one: list[str], other: list[str]) -> None:
    longest = max(len(one), len(other))
    expected = 1 - edits(one, other) / longest if longest else 1.0
    assert edit_similarity(one, other) == pytest.approx(expected)


@given(WORDS, WORDS)
def test_overlap_is_the_same_both_ways_and_whole_for_the_same_words(one: list[str], other: list[str]) -> None:
    assert overlap(one, one) == 1
    assert overlap(one, other) == overlap(other, one)
    assert 0 <= overlap(one, other) <= 1


@given(st.permutations(range(6)), st.integers(1, 6))
def test_rankings(order: list[int], top: int) -> None:
    assert rank_score(order, order) == pytest.approx(1)
    assert rank_score(order, order[::-1]) == pytest.approx(0)
    assert 0 <= rank_score(order[:top], sorted(order)[:top]) <= 1


def test_vectors() -> None:
    assert mean_cosine([(1, 0), (0, 2)], [(3, 0), (0, 1)]) == pytest.approx(1)
    assert mean_cosine([(1.0, 0.0)], [(0.0, 1.0)]) == 0
    assert mean_cosine([(1.0, 0.0)], [(1.0, 0.0, 0.0)]) == 0
    assert mean_cosine([(1.0,)], []) == 0
    assert mean_cosine([(0.0,)], [(0.0,)]) == 1


@pytest.mark.parametrize(
    ("old", "new", "score", "same"),
    [
        (Said("the red house"), Said("the  red\nhouse"), 1.0, True),
        (Said("yes"), Said("no"), 0.0, False),
        (Said(calls=(("a", {"x": 1}),)), Said(calls=(("a", {"x": 1}),)), 1.0, True),
        (Said(calls=(("a", {"x": 1}), ("b", {}))), Said(calls=(("a", {"x": 2}), ("b", {}))), 0.5, False),
        (Said(calls=(("a", {"x": 1}),)), Said("I will not"), 0.0, False),
        (Said(vectors=((1.0, 2.0),)), Said(vectors=((1.0, 2.0),)), 1.0, True),
        (Said(ranking=(0, 1, 2)), Said(ranking=(0, 2, 1)), 0.75, False),
    ],
)
def test_an_answer_is_scored_by_what_it_is(old: Said, new: Said, score: float, same: bool) -> None:
    assert likeness.score(old, new) == pytest.approx(score)
    assert likeness.same(old, new) is same


def test_a_long_answer_holds_nobody_up() -> None:
    """The most that is compared, in processor time of this thread; a table of a million cells would take seconds."""
    rng = random.Random(1)
    one, other = ([str(rng.randrange(300)) for _ in range(likeness.WORDS_MAX)] for _ in range(2))
    began = time.thread_time()
    likeness.similarity(Said(" ".join(one)), Said(" ".join(other)))
    assert time.thread_time() - began < 0.1
