"""The sequential test: seldom wrong however often it is looked at, and quick where it matters."""

import random

import pytest

from headrace.policy.sequential import evidence, grown

LIMIT = 300.0  # 1/alpha of one of three accusations with one in a hundred


def _until(seed: int, rates: tuple[float, float], share: float, most: int) -> int | None:
    """How many requests of the new version there were when it was believed to be worse; None if never."""
    rng, logs, served = random.Random(seed), (), 0
    batch = {False: [0, 0], True: [0, 0]}
    for number in range(most):
        new = rng.random() < share
        served += new
        batch[new][0] += 1
        batch[new][1] += rng.random() < rates[new]
        if number % 20 == 19:
            logs = grown(logs, tuple(batch[False]), tuple(batch[True]))
            batch = {False: [0, 0], True: [0, 0]}
            if evidence(logs) >= LIMIT:
                return served
    return None


@pytest.mark.parametrize(("rate", "share"), [(0.02, 0.05), (0.1, 0.25), (0.3, 0.5)])
def test_an_equal_version_is_accused_no_more_often_than_promised(rate: float, share: float) -> None:
    wrong = sum(_until(seed, (rate, rate), share, 1000) is not None for seed in range(300))
    assert wrong <= 300 / LIMIT + 3  # three standard deviations of a Poisson number of mean 1


def test_a_looser_limit_is_kept_too_so_that_the_truth_above_could_fail() -> None:
    peaks = []
    for seed in range(300):
        rng, logs, peak = random.Random(seed), (), 1.0
        for _ in range(50):
            old, new = (sum(rng.random() < 0.2 for _ in range(10)) for _ in range(2))
            logs = grown(logs, (10, old), (10, new))
            peak = max(peak, evidence(logs))
        peaks.append(peak)
    wrong = sum(peak >= 10 for peak in peaks)
    assert 0 < wrong <= 45  # at most one in ten, and three standard deviations


def test_three_times_the_errors_are_found_within_600_requests_of_the_new_version() -> None:
    found = [_until(seed, (0.1, 0.3), 0.25, 2400) for seed in range(100)]
    assert sum(served is not None and served <= 600 for served in found) >= 99


def test_a_version_that_only_fails_is_found_within_ten_requests() -> None:
    found = [_until(seed, (0.0, 1.0), 0.05, 1000) for seed in range(100)]
    assert all(served is not None and served <= 10 for served in found)


def test_an_outage_of_both_is_no_evidence() -> None:
    assert evidence(grown((), (95, 95), (5, 5))) == pytest.approx(1.0)


def test_more_bad_than_there_were_is_refused() -> None:
    with pytest.raises(ValueError, match="8 bad of 7"):
        grown((), (0, 0), (7, 8))
