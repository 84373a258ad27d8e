"""Lengths: remembered as long as they tell something, and a mix's work is that of its classes, not of its mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.planner.pool_mix import Class, Device, Model, alternatives
from headrace.policy import capacity, lengths
from headrace.policy.lengths import ENOUGH, MEMORY_US, TYPICAL, Lengths, Mix
from headrace.policy.options import Asked, option
from headrace.policy.performance import foretold
from headrace.state.mix import size_class
from tests.policy.test_choice import LARGE, MODEL, SMALL, S

SPEEDS = {pool.name: foretold(MODEL, pool) for pool in (SMALL, LARGE)}
parts = st.lists(st.tuples(st.floats(0.05, 1), st.integers(20, 8_000)), min_size=1, max_size=5)


def mixed(*prompts: tuple[float, int], output: int = 100) -> Mix:
    total = sum(part for part, _ in prompts)
    shares = tuple(sorted(((part / total, tokens) for part, tokens in prompts), key=lambda one: one[1]))
    mean = round(sum(part * tokens for part, tokens in shares))
    return Mix(1.0, mean, output, shares[-1][1], shares)


def test_nothing_known_is_typical() -> None:
    assert Lengths(0).mix() == TYPICAL


def test_old_lengths_are_forgotten_where_there_are_enough_newer_ones() -> None:
    """Prompts of 100 tokens an hour long, then of 4,000: after three memories those are nearly all."""
    seen = Lengths(0)
    sizes = {size_class(100): (0, 0, 0)}
    for minute in range(60):
        count = ENOUGH * (minute + 1)
        sizes = {size_class(100): (count, 100 * count, 50 * count)}
        seen.note(sizes, minute * 60 * S)
    assert seen.mix().input_tokens == 100
    for minute in range(3 * MEMORY_US // (60 * S)):
        count = ENOUGH * (minute + 1)
        seen.note(sizes | {size_class(4_000): (count, 4_000 * count, 50 * count)}, (60 + minute) * 60 * S)
    assert seen.mix().input_tokens > 0.9 * 4_000
    assert seen.mix().output_tokens == 50


def test_few_requests_are_remembered_for_an_hour() -> None:
    """One a minute: ten minutes later the first ones still count."""
    seen = Lengths(0)
    for minute in range(10):
        seen.note({size_class(800): (minute + 1, 800 * (minute + 1), 10 * (minute + 1))}, minute * 60 * S)
    assert seen.requests > 9


def test_counts_that_begin_anew_are_taken_whole() -> None:
    """A gateway has been started again: it tells of its own requests alone."""
    seen = Lengths(0)
    seen.note({10: (50, 40_000, 500)}, S)
    seen.note({10: (2, 1_600, 20)}, 2 * S)
    assert seen.requests == pytest.approx(52, rel=0.01)


@given(parts)
def test_the_work_told_is_what_the_mix_takes(prompts: list[tuple[float, int]]) -> None:
    """Summed over the mix, prompts and steps by the rate are the time they take; long ones never cost less than they do
    in proportion to short ones.
    """
    mix = mixed(*prompts)
    for speed in SPEEDS.values():
        assert speed is not None
        found = lengths.rate(MODEL, speed, mix)
        assert found is not None
        told = sum(part * (found.fixed_ns + tokens * found.input_ns) for part, tokens in mix.prompts)
        assert told == pytest.approx(mix.prefill_ns(speed), rel=0.02, abs=2 * mix.input_tokens)
        assert min(found.fixed_ns, found.input_ns) >= 0


def test_a_few_long_prompts_weigh_more_than_the_mean_says() -> None:
    """One in fifty of 6,000 tokens: as a mean of 217 they would pass for short ones."""
    speed = SPEEDS["small"]
    assert speed is not None
    mean, _ = lengths.serves(MODEL, speed, mixed((1.0, 217)))
    mix, _ = lengths.serves(MODEL, speed, mixed((0.98, 100), (0.02, 6_000)))
    assert mix < 0.95 * mean


@given(st.integers(50, 6_000), st.integers(20, 300), st.floats(0.5, 20))
def test_the_choice_and_the_planned_mix_count_alike(tokens: int, output: int, rate: float) -> None:
    """The live choice's cost of a pool is that of the planner's for all on one kind, but for a fifth of a replica."""
    mix = mixed((1.0, tokens), output=output)
    served = {pool.name: lengths.serves(MODEL, SPEEDS[pool.name], mix) for pool in (SMALL, LARGE)}  # type: ignore[arg-type]
    work_us = {name: 3.6e9 / able for name, (able, keeps) in served.items() if keeps}
    classes = [Class(model="m", bucket="all", rates=(rate,), work_us=work_us)]
    shares = [Model(name="m", share={pool.name: capacity.part(MODEL, pool) for pool in (SMALL, LARGE)})]
    for pool in (SMALL, LARGE):
        found = option(MODEL, pool, served[pool.name], mix, Asked([rate * 3600], 0.0, 12), have=0)
        price = pool.price_nanousd_per_hour or 0
        device = Device(name=pool.name, nanousd_per_hour=price, count=pool.count)
        (planned,) = alternatives(classes, shares, [device])
        if planned.nanousd_per_hour is not None:
            assert found.nanousd is not None
            assert planned.nanousd_per_hour - price <= found.nanousd <= planned.nanousd_per_hour
        elif found.nanousd is not None:  # it needs less than a fifth of a replica more than there may be
            assert found.nanousd == price * pool.count
