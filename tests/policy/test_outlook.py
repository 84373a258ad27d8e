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


def test_a_rising_load_is_expected_to_rise():
    """By its slope over the horizon, and a fall is not expected to go on."""
    outlook, _ = fed([1 + number / 60 for number in range(60)])
    assert outlook.expect(HORIZON, 600 * S).peak > outlook.expect(HORIZON, 600 * S).level + 0.1
    falling, _ = fed([3 - number / 60 for number in range(60)])
    assert falling.expect(HORIZON, 600 * S).peak == pytest.approx(falling.expect(HORIZON, 600 * S).level)


def test_noise_is_told_a_step_is_little_of_it_and_a_fall_none():
    outlook, _ = fed([2.0 if (number - 5) // 6 % 2 else 4.0 for number in range(96)])
    assert outlook.expect(HORIZON, 900 * S).sigma == pytest.approx(2**0.5, rel=0.05)
    step, _ = fed([1.0] * 45 + [3.0] * 45)
    assert step.expect(HORIZON, 900 * S).sigma < 0.6
    fall, _ = fed([3.0] * 60 + [1.0] * 50)
    assert fall.expect(HORIZON, 1100 * S).sigma == pytest.approx(0, abs=1e-6)


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
