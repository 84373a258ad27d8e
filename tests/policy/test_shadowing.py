"""Whom a gateway copies to a version that is only watched: the same in each, and never where somebody would wait."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.policy.shadowing import AT_ONCE_MAX, FULL, NOT_READY, its_turn, left_out


@given(st.text(min_size=1), st.integers(0, 100), st.integers(0, 100))
def test_who_is_copied_at_a_share_is_copied_at_every_larger_one(name: str, one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert its_turn(name, more) or not its_turn(name, less)
    assert its_turn(name, 100)
    assert not its_turn(name, 0)


def test_a_share_is_kept() -> None:
    assert abs(sum(its_turn(f"req-{number}", 30) for number in range(10_000)) - 3_000) < 150


@given(st.booleans(), st.integers(0, 100))
def test_a_copy_is_left_out_where_it_would_wait_or_too_many_are_under_way(ready: bool, under_way: int) -> None:
    why = left_out(ready=ready, under_way=under_way)
    assert why == (NOT_READY if not ready else FULL if under_way >= AT_ONCE_MAX else "")
