"""The fit finds the fixed part of a step and the own work of a token, and says how well it knows them."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.economics.work import FIXED_PPM, SAMPLES_MIN, Prompt, Samples, WorkModel, fitted, learn, learn_items


def learned(fixed_ns: int, own_ns: int, present: list[int], noise: float = 0.0, tokens: int = 100) -> WorkModel:
    samples, rng = Samples(), random.Random(3)
    for n in present:
        each_ns = (fixed_ns + own_ns * n) * (1 + rng.uniform(-noise, noise))
        samples = learn(samples, present=n, decode_us=round(each_ns * tokens / 1000), decode_tokens=tokens)
    return fitted(samples)


@given(st.integers(100_000, 10**8), st.integers(100_000, 10**8), st.integers(2, 32))
def test_the_fit_recovers_fixed_and_own(fixed, own, most):
    """Exactly known times give exactly these, whatever they are."""
    found = learned(fixed, own, [1, most] * 20)
    assert found.fixed_ns == pytest.approx(fixed, rel=0.01, abs=100)
    assert found.decode_ns == pytest.approx(own, rel=0.01, abs=100)
    assert 0 <= found.residual_ppm < 1_000


def test_the_fit_stands_ten_percent_of_noise():
    """And the residual says that there is some."""
    found = learned(10_200_000, 6_400_000, [1, 2, 4, 8, 16] * 100, noise=0.1)
    assert found.fixed_ns == pytest.approx(10_200_000, rel=0.1)
    assert found.decode_ns == pytest.approx(6_400_000, rel=0.05)
    assert 30_000 < found.residual_ppm < 80_000
    assert found.samples == 500


def test_without_spread_the_default_splits_the_mean_step():
    """Nobody was ever with another: what is fixed cannot be told apart, and the fit does not pretend."""
    found = learned(6_100_000, 3_900_000, [1] * 100)
    assert found.fixed_ns / (found.fixed_ns + found.decode_ns) == pytest.approx(FIXED_PPM / 10**6, rel=0.001)
    assert found.residual_ppm == -1


def test_few_samples_are_no_fit():
    """Below the least number the default stands; with it the fit."""
    assert learned(10**7, 10**6, [1, 9] * (SAMPLES_MIN // 2 - 1)).residual_ppm == -1
    assert learned(10**7, 10**6, [1, 9] * (SAMPLES_MIN // 2)).residual_ppm >= 0


figures = st.tuples(
    st.floats(1, 64), st.integers(0, 10**9), st.integers(0, 10**4), st.integers(0, 10**9), st.integers(0, 10**4)
)


@given(st.lists(figures, max_size=60))
def test_whatever_engines_tell_work_is_never_negative(told):
    """Nor more than the step it is part of; faster in company is no own work at all."""
    samples = Samples()
    for present, decode_us, decode, prefill_us, prefill in told:
        samples = learn(samples, present=present, decode_us=decode_us, decode_tokens=decode,
                        prompt=Prompt(prefill_us, prefill))  # fmt: skip
    found = fitted(samples)
    assert min(found.prefill_ns, found.decode_ns, found.item_ns, found.fixed_ns) >= 0
    steps = [decode_us * 1000 / decode for _, decode_us, decode, _, _ in told if decode >= 2 and decode_us]
    assert found.decode_ns <= max(steps, default=0) + 1


@given(st.integers(10_000, 10**7), st.integers(0, 10**9), st.integers(0, 50_000))
def test_a_prompt_has_a_fixed_part_and_a_first_token_is_on_its_way(own, fixed, way_us):
    """Of prompts that were alone; those in company say nothing of either."""
    samples = Samples()
    for tokens in (20, 50, 200, 90, 400, 10, 30, 70):
        prefill_us = (fixed + own * tokens) // 1000
        for present, first_us in ((1, prefill_us + way_us), (3, 10**9)):
            prompt = Prompt(prefill_us, tokens, first_us=first_us)
            samples = learn(samples, present=present, decode_us=0, decode_tokens=0, prompt=prompt)
    found = fitted(samples)
    assert found.prefill_ns == pytest.approx(own, rel=0.02, abs=30)
    assert found.prompt_ns == pytest.approx(fixed, rel=0.02, abs=5_000)
    assert found.first_ns == pytest.approx(way_us * 1000, abs=1_500)


def test_prompts_and_items_are_learned_beside():
    """A prompt token takes what it takes; an item the part that is not fixed."""
    samples = learn(Samples(), present=1, decode_us=0, decode_tokens=0, prompt=Prompt(500, 10))
    samples = learn_items(samples, busy_us=1000, items=4)
    found = fitted(samples)
    assert found.prefill_ns == 50_000
    assert found.item_ns == 1_000_000 // 4 * (10**6 - FIXED_PPM) // 10**6
    assert learn(samples, present=1, decode_us=0, decode_tokens=5, prompt=Prompt(0, 7)) == samples
