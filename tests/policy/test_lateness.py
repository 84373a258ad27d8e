"""An error budget of late first tokens: what it owes, and that steady traffic owes nothing."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.policy.lateness import LOOK_US, OWED_MAX, Lateness

PROMISED = 0.99
MINUTE = 1_000  # first tokens


def after(minutes: list[int], *, begun_each: int = MINUTE) -> Lateness:
    """So many late in each minute."""
    made, begun, late = Lateness(0), 0, 0
    for minute, missed in enumerate(minutes, start=1):
        begun, late = begun + begun_each, late + missed
        made.look(begun, late, PROMISED, minute * LOOK_US)
    return made


def test_what_may_be_late_is_not_owed() -> None:
    assert after([10] * 600).owed < 0.001
    assert after([0] * 600).owed == 0


def test_a_burst_is_owed_for_hours_and_then_paid_off() -> None:
    """Five hours' allowance in ten minutes: nearly all of it is owed then, some an hour later, and none after seven."""
    quiet, burst = [0] * 120, [300] * 10
    assert 4 < after([*quiet, *burst]).owed < 6
    assert 0 < after([*quiet, *burst, *[0] * 60]).owed < 5
    assert after([*quiet, *burst, *[0] * 420]).owed == 0


def test_what_comes_late_all_day_owes_the_most() -> None:
    assert after([30] * 600).owed == OWED_MAX


def test_who_says_nothing_owes_nothing() -> None:
    """A model nobody asks, a gateway that began anew."""
    assert after([0] * 60, begun_each=0).owed == 0
    made = after([5] * 60)
    made.look(10, 10, PROMISED, 61 * LOOK_US)
    assert made.owed == 0


@given(st.lists(st.integers(0, MINUTE), max_size=300))
def test_it_stays_within_its_bounds(minutes: list[int]) -> None:
    assert 0 <= after(minutes).owed <= OWED_MAX
