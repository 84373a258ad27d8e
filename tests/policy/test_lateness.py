"""An error budget of late first tokens: what it keeps free, and that steady traffic moves nothing."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.policy.lateness import LOOK_US, SIGMAS, SIGMAS_MAX, STEPS, Lateness

PROMISED = 0.99
MINUTE = 1_000  # first tokens


def after(minutes: list[int], *, tells: bool = True, begun_each: int = MINUTE) -> Lateness:
    """So many late in each minute."""
    made, begun, late = Lateness(0), 0, 0
    for minute, missed in enumerate(minutes, start=1):
        begun, late = begun + begun_each, late + missed
        made.look(begun, late, PROMISED, minute * LOOK_US, tells=tells)
    return made


def test_what_may_be_late_moves_nothing() -> None:
    assert after([10] * 600).sigmas == SIGMAS
    assert after([0] * 600).sigmas == SIGMAS


def test_a_burst_is_owed_for_hours_and_then_paid_off() -> None:
    """Five hours' allowance in ten minutes: more than one sigma more, and none of it six hours later."""
    quiet, burst = [0] * 120, [300] * 10
    assert after([*quiet, *burst]).sigmas >= SIGMAS + 1
    assert after([*quiet, *burst, *[0] * 60]).sigmas > SIGMAS
    assert after([*quiet, *burst, *[0] * 420]).sigmas == SIGMAS


def test_what_comes_late_all_day_is_met_with_all_there_is() -> None:
    assert after([30] * 600).sigmas == SIGMAS_MAX


def test_who_says_nothing_is_owed_nothing() -> None:
    """A fleet of one, a model nobody asks, a gateway that began anew."""
    assert after([500] * 60, tells=False).sigmas == SIGMAS
    assert after([0] * 60, begun_each=0).sigmas == SIGMAS
    made = after([5] * 60)
    made.look(10, 10, PROMISED, 61 * LOOK_US, tells=True)
    assert made.sigmas == SIGMAS


@given(st.lists(st.integers(0, MINUTE), max_size=300))
def test_it_stays_within_its_bounds_and_in_steps(minutes: list[int]) -> None:
    sigmas = after(minutes).sigmas
    assert SIGMAS <= sigmas <= SIGMAS_MAX
    assert (sigmas * STEPS).is_integer()
