"""How long a replica that is not needed stays: by what came back, and what a start costs."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.policy.levels import DEAR, Levels
from headrace.units import US_PER_S as S

START_US = 40 * S
SLACK = 0.2


def after(needs: list[tuple[float, int]]) -> tuple[Levels, int]:
    """Needs in turn, each for so many seconds; and the time then."""
    made, now_us = Levels(), 0
    for need, seconds in needs:
        for _ in range(0, seconds, 10):
            made.take(need, SLACK, now_us)
            now_us += 10 * S
    return made, now_us


def test_until_enough_came_back_it_stays_for_a_start() -> None:
    made, now_us = after([(2.0, 60), (0.8, 600)])
    assert made.kept_us(START_US, 0, now_us) == START_US


def test_it_stays_longer_where_starts_let_people_wait() -> None:
    made, now_us = after([(2.0, 60), (0.8, 600)])
    assert made.kept_us(START_US, 3, now_us) == START_US * (1 + 3 * DEAR)


def test_it_stays_for_needs_that_come_back_within_a_start_and_not_for_those_of_the_day() -> None:
    """Two minutes apart, with a debt: for two minutes. An hour apart: for none of it."""
    soon, now_us = after([(2.0, 60), (0.8, 120)] * 20)
    assert 120 * S <= soon.kept_us(START_US, 2, now_us) <= 150 * S
    seldom, now_us = after([(2.0, 600), (0.8, 3600)] * 20)
    assert seldom.kept_us(START_US, 2, now_us) <= 60 * S


def test_it_does_not_stay_for_two_minutes_where_a_start_is_cheaper() -> None:
    made, now_us = after([(2.0, 60), (0.8, 120)] * 20)
    assert made.kept_us(START_US, 0, now_us) <= 60 * S


def test_noise_within_the_slack_is_no_gap() -> None:
    made, now_us = after([(1.95, 10), (2.05, 10)] * 300)
    assert made.kept_us(START_US, 0, now_us) == START_US  # nothing was learned


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(10, 400)), max_size=60), st.floats(0, 8))
def test_it_is_never_kept_for_less_than_nothing_and_more_than_a_quarter_of_an_hour(
    needs: list[tuple[float, int]], owed: float
) -> None:
    made, now_us = after(needs)
    assert 0 < made.kept_us(START_US, owed, now_us) <= 900 * S
