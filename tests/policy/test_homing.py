"""Homes: enough is always there, moves drain, and a plan that was carried out leaves nothing to do."""

from hypothesis import example, given
from hypothesis import strategies as st

from headrace.policy.homing import Level, have, split


@st.composite
def pools(draw: st.DrawFn) -> list[Level]:
    found = []
    for place in range(draw(st.integers(1, 4))):
        there = draw(st.integers(0, 6))
        able = 1.0 if place == 0 else draw(st.floats(0.1, 4))
        found.append(Level(f"p{place}", able, there, draw(st.integers(0, there)), draw(st.integers(0, 6))))
    return found


def after(levels: list[Level], changes: list[int], *, ready: bool) -> list[Level]:
    """Carried out; those that start have become ready, or not yet."""
    return [
        Level(
            one.pool,
            one.able,
            one.there + change,
            one.there + change if ready else min(one.ready, one.there + change),
            one.room - change,
        )
        for one, change in zip(levels, changes, strict=False)
    ]


@given(st.integers(0, 12), pools())
def test_nobody_goes_whose_work_nobody_else_is_ready_for(count: int, levels: list[Level]) -> None:
    """What stays and is ready at home, and what stays elsewhere, does the work, if what was there did."""
    *changes, _ = split([count], levels)
    home, *others = levels
    stay = [one.there + min(0, change) for one, change in zip(levels, changes, strict=True)]
    before = home.ready + sum(one.able * one.there for one in others)
    left = min(home.ready, stay[0]) + sum(one.able * there for one, there in zip(others, stay[1:], strict=True))
    assert left >= min(count, before) - 1e-6 or stay[0] >= count


@given(st.integers(0, 12), pools())
def test_it_comes_to_rest(count: int, levels: list[Level]) -> None:
    """Carried out, the same again does nothing; once all are ready, there is as much as is wanted, or no room."""
    *changes, left = split([count], levels)
    same = after(levels, changes, ready=False)
    assert [change for change in split([count], same)[:-1] if change > 0] == []
    for _ in range(3):
        *changes, left = split([count], levels)
        levels = after(levels, changes, ready=True)
    assert not any(split([count], levels)[:-1])
    does = sum(one.able * one.there for one in levels)
    assert does >= count - 1e-6 or left > 0 or all(one.room <= 0 for one in levels)


@given(st.integers(1, 12), pools())
def test_no_more_than_fits_is_started(count: int, levels: list[Level]) -> None:
    *changes, _ = split([count], levels)
    assert all(change <= one.room for one, change in zip(levels, changes, strict=True))
    assert all(one.there + change >= 0 for one, change in zip(levels, changes, strict=True))


def test_successors_that_only_start_are_not_counted_twice() -> None:
    """Four small ones do what two large ones will; when those are there, all count."""
    small = Level("small", 0.5, 4, 4, 0)
    assert have([Level("large", 1.0, 2, 0, 0), small]) == 2
    assert have([Level("large", 1.0, 2, 2, 0), small]) == 4


@given(pools())
@example(
    [Level("p0", 1.0, 0, 0, 0), Level("p1", 2.0, 0, 0, 1), Level("p2", 1.0, 1, 1, 0)]
)  # from the third to the second
def test_a_move_of_a_model_that_nobody_asks_does_not_grow(levels: list[Level]) -> None:
    """As many are kept as there are, however often it is looked at, while those that are replaced are still there."""
    at_first = have(levels, asked=False)
    for _ in range(4):
        levels = after(levels, split([have(levels, asked=False)], levels), ready=True)
        assert have(levels, asked=False) <= at_first
