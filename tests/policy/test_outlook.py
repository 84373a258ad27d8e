"""The outlook: what was seen, what it makes of it."""

import pytest

from headrace.policy.outlook import BUCKET_US, DAY_US, Outlook

S = 1_000_000
HORIZON = 120 * S


def fed(
    loads: list[float], start_us: int = 0, asked: float = 0.0, seen: Outlook | None = None
) -> tuple[Outlook, float]:
    """An outlook that saw a load (replicas) for each ten seconds."""
    outlook = seen or Outlook()
    for number, load in enumerate([*loads, 0.0]):
        at = start_us + number * BUCKET_US
        outlook.note(int(asked), at, at)
        asked += load * BUCKET_US
    return outlook, asked


def test_a_steady_load_is_expected_to_stay():
    outlook, _ = fed([3.0] * 120)
    found = outlook.expect(HORIZON, 1200 * S)
    assert (found.level, found.peak, found.sigma) == (pytest.approx(3), pytest.approx(3), pytest.approx(0, abs=1e-6))


def test_a_rising_load_is_expected_to_rise_on():
    """By what it rose over a start before, counted from the minute that was known; a fall asks for nothing."""
    outlook, _ = fed([1 + number / 60 for number in range(120)])
    found = outlook.expect(HORIZON, 1200 * S)
    assert found.peak == found.level == pytest.approx(3 - 4.5 / 60)
    assert found.sigma == pytest.approx((12 + 2 + 1.5) / 60)  # to the middle of the half minute that then came
    falling, _ = fed([4 - number / 60 for number in range(150)])
    assert falling.expect(HORIZON, 1500 * S).sigma == pytest.approx(0, abs=1e-6)


def test_noise_is_told_and_a_step_for_as_long_as_it_took_a_start():
    outlook, _ = fed([2.0 if (number - 5) // 6 % 2 else 4.0 for number in range(96)])
    assert 0.5 < outlook.expect(HORIZON, 900 * S).sigma < 1.5
    step, _ = fed([1.0] * 45 + [3.0] * 75)
    errors = [2.0] * 12  # of ninety, and those about the step itself
    assert step.expect(HORIZON, 1200 * S).sigma == pytest.approx((sum(e * e for e in errors) / 90) ** 0.5, rel=0.2)
    long_ago, _ = fed([1.0] * 45 + [3.0] * 120)
    assert long_ago.expect(HORIZON, 1650 * S).sigma == pytest.approx(0, abs=1e-6)


def test_what_is_young_looks_as_far_as_it_can():
    outlook, _ = fed([1.0] * 8 + [2.0] * 6)
    assert outlook.expect(HORIZON, 140 * S).sigma > 0.5
    few, _ = fed([1.0] * 5)
    assert few.expect(HORIZON, 50 * S).sigma == 0


def test_yesterday_s_morning_is_expected_today():
    """The load doubles at nine; at five to nine that is known, and no more than it grew."""
    day = [1.0] * (9 * 360) + [2.0] * (15 * 360)
    outlook, asked = fed(day)
    nearly = 9 * 360 - 30
    outlook, _ = fed(day[:nearly], DAY_US, asked, outlook)
    found = outlook.expect(600 * S, DAY_US + nearly * BUCKET_US)
    assert found.level == pytest.approx(1, rel=0.05)
    assert found.peak == pytest.approx(2, rel=0.1)


def test_a_counter_that_begins_anew_is_no_load():
    outlook, _ = fed([1.0] * 30)
    outlook.note(5, 31 * BUCKET_US, 0)
    outlook.note(5, 40 * BUCKET_US, 0)
    assert outlook.expect(HORIZON, 0).level < 1


def test_a_long_silence_is_silence():
    outlook, asked = fed([5.0] * 60)
    outlook.note(int(asked), 10**6 * BUCKET_US, 10**6 * BUCKET_US)
    assert outlook.expect(HORIZON, 0).level == 0
