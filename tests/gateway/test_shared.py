"""Counters several workers share: nothing counted twice, lost, or left behind by one that died."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.gateway.shared import SLOTS, WINDOW_US, Counters


def both(folder: Path) -> tuple[Counters, Counters]:
    return Counters(folder / "counters", 2, 0), Counters(folder / "counters", 2, 1)


def test_all_workers_see_what_all_have_at_work(tmp_path: Path):
    """Each sees the sum, and what the others have."""
    a, b = both(tmp_path)
    a.flying("replica:r", 2)
    b.flying("replica:r", 1)
    assert [c.spent("replica:r", 0).in_flight for c in (a, b)] == [3, 3]
    assert (a.others("replica:r"), b.others("replica:r")) == (1, 2)


def test_a_minute_ends_for_all_workers_at_once(tmp_path: Path):
    """What is said about when to come back is so: then everything of this minute is forgotten, whoever counted it."""
    a, b = both(tmp_path)
    now = 10**12
    a.spend("key:k", 1, 100, now)
    resets = a.spent("key:k", now).resets_us
    b.spend("key:k", 1, 50, resets - 1)
    spent = a.spent("key:k", resets - 1)
    assert (spent.requests, spent.tokens, spent.resets_us) == (2, 150, resets)
    assert a.spent("key:k", resets)[:3] == (0, 0, 0)
    assert now < resets <= now + WINDOW_US


def test_a_worker_that_comes_back_begins_with_nothing(tmp_path: Path):
    """What its killed predecessor had at work is gone; the sibling's is not."""
    a, b = both(tmp_path)
    a.flying("key:k", 5)
    b.flying("key:k", 1)
    again = Counters(tmp_path / "counters", 2, 0)
    assert again.spent("key:k", 0).in_flight == 1


def test_a_correction_never_makes_a_debt_of_the_gateway(tmp_path: Path):
    """Tokens of a minute do not fall below zero."""
    (a, _) = both(tmp_path)
    a.spend("key:k", 1, 10, 10**9)
    a.spend("key:k", 0, -25, 10**9)
    assert a.spent("key:k", 10**9).tokens == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), st.booleans()), max_size=60))
def test_sums_are_exact(tmp_path_factory, steps: list[tuple[int, int, bool]]):
    """Whatever two workers begin and end, the sum is what is at work."""
    workers = both(tmp_path_factory.mktemp("c"))
    own: dict[tuple[int, int], int] = {}
    for worker, name, more in steps:
        flying = own.get((worker, name), 0)
        if more or flying:
            workers[worker].flying(f"key:{name}", 1 if more else -1)
            own[worker, name] = flying + (1 if more else -1)
    for name in range(10):
        total = own.get((0, name), 0) + own.get((1, name), 0)
        assert workers[0].spent(f"key:{name}", 0).in_flight == total


def test_more_names_than_places(tmp_path: Path):
    """Names come and go for ever; one that is at work keeps its place."""
    (a, b) = both(tmp_path)
    a.flying("replica:busy", 1)
    for number in range(3 * SLOTS):
        a.spend(f"key:{number}", 1, 1, 10**9 + number)
    assert b.others("replica:busy") == 1
    assert len(a._places) <= SLOTS
