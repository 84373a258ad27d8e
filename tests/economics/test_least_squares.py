"""Three coefficients from a stream: found where they are there, never negative, robust, and forgetting."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.economics.least_squares import MEMORY, Sums, Three, added, solved


def seen(truth: Three, count: int, noise: float = 0.0, sums: Sums | None = None, wild: float = 0.0) -> Sums:
    """`wild` of the measurements take five times as long as they should."""
    rng, found = random.Random(7), sums or Sums()
    for _ in range(count):
        x, y = rng.uniform(1, 16), rng.uniform(10, 2_000)
        features = (1.0, x, x * y)
        exact = sum(one * other for one, other in zip(truth, features, strict=True))
        figure = exact * (1 + rng.uniform(-noise, noise)) * (5 if rng.random() < wild else 1)
        fit = solved(found)
        foretold = (
            sum(one * other for one, other in zip(fit, features, strict=True)) if fit and found.count > 8 else 0.0
        )
        found = added(found, features, figure, foretold)
    return found


@given(st.tuples(st.floats(1, 1e7), st.floats(1, 1e7), st.floats(1e-3, 1e4)))
def test_exact_measurements_give_exactly_their_coefficients(truth: Three) -> None:
    assert solved(seen(truth, 60)) == pytest.approx(truth, rel=1e-3, abs=1e-3 * max(truth))


def test_some_that_are_wild_do_not_spoil_the_fit() -> None:
    """One in ten took five times as long: plain least squares would be some 40 % off."""
    truth = (10.0, 6.0, 0.01)
    found = solved(seen(truth, 1_000, noise=0.05, wild=0.1))
    assert found is not None
    assert sum(found[i] * (1, 4, 2_000)[i] for i in range(3)) == pytest.approx(10 + 24 + 20, rel=0.12)


def test_what_was_long_ago_is_forgotten() -> None:
    """The device became twice as slow: after some memories of measurements the fit says so."""
    before = seen((10.0, 6.0, 0.01), 500)
    assert solved(seen((20.0, 12.0, 0.02), 6 * MEMORY, sums=before)) == pytest.approx((20.0, 12.0, 0.02), rel=0.05)


@given(st.lists(st.tuples(st.floats(1, 64), st.floats(0, 1e4), st.floats(1, 1e9)), min_size=1, max_size=40))
def test_coefficients_are_never_negative(told: list[tuple[float, float, float]]) -> None:
    sums = Sums()
    for x, y, figure in told:
        sums = added(sums, (1.0, x, x * y), figure, 0.0)
    for features in ((0, 1, 2), (0, 1), (0,)):
        found = solved(sums, features)
        assert found is None or min(found) >= 0


def test_features_that_never_varied_cannot_be_told_apart() -> None:
    sums = Sums()
    for _ in range(40):
        sums = added(sums, (1.0, 2.0, 600.0), 100.0, 0.0)
    assert solved(sums) is None
    assert solved(sums, (0,)) == pytest.approx((100.0, 0.0, 0.0))
