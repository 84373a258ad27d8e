"""Capacity: the largest batch that keeps the promise, and work that adds up to the replica's time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.economics.work import WorkModel
from headrace.policy.capacity import point, rate
from headrace.policy.performance import Measured, Roofline
from headrace.specs import accelerators, shapes

H200 = Roofline(shapes.KNOWN["qwen3-32b"], accelerators.TABLE["nvidia-h200"])


@given(st.integers(1, 4096), st.integers(64, 1024), st.integers(40_000, 200_000))
def test_the_next_batch_would_not_do(tokens_in, tokens_out, tpot_us):
    """The point keeps the promise with newcomers' prompts; one more sequence breaks it, or does not fit."""
    at = point(H200, tokens_in, tokens_out, tpot_us, 4096)
    assert at is not None
    share = at.requests_per_hour / 3.6e12 * at.prefill_ns
    kept = at.step_ns / (1 - share) <= tpot_us * 1000
    more = at.batch + 1
    step_ns = H200.step_ns(more, tokens_in + tokens_out / 2)
    work_ns = at.prefill_ns + tokens_out * step_ns / more
    slow = (step_ns / (1 - at.prefill_ns / work_ns) if kept else step_ns) > tpot_us * 1000
    assert slow or more * (tokens_in + tokens_out) > 0.9 * H200.kv_tokens or more > 1024


def test_nearly_all_prompt_is_bounded_by_its_steps():
    """4,000 tokens in and 4 out: no full replica keeps 40 ms between tokens, and still it serves."""
    at = point(H200, 4_000, 4, 40_000, 64)
    assert at is not None
    assert at.step_ns <= 40_000_000
    assert at.step_ns / (1 - at.requests_per_hour / 3.6e12 * at.prefill_ns) > 40_000_000


@given(st.integers(2, 4096), st.integers(2, 1024))
def test_a_full_replica_does_one_second_of_work_a_second(tokens_in, tokens_out):
    """Requests an hour, times the work of one, is an hour."""
    at = point(H200, tokens_in, tokens_out, 60_000, 256)
    assert at is not None
    work_us = rate(H200, at, tokens_in).work_us(tokens_in, tokens_out)
    assert at.requests_per_hour * work_us == pytest.approx(3.6e9, rel=0.001)


def test_slots_bound_the_batch():
    at = point(H200, 500, 200, 60_000, 4)
    assert at is not None
    assert at.batch == 4


def test_a_promise_nobody_can_keep_has_no_point():
    assert point(H200, 500, 200, 1_000, 64) is None
    assert point(Roofline(shapes.KNOWN["llama-3.1-70b"], accelerators.TABLE["nvidia-l4"]), 10, 10, 10**9, 1) is None


def test_one_item_is_one_prompt():
    """An engine without tokens has no steps: its work is the item's."""
    measured = Measured(WorkModel(item_ns=4_000_000), 8)
    at = point(measured, 1, 0, 1, 8)
    assert at is not None
    assert rate(measured, at, 1).work_us(1, 0) == 4_000
