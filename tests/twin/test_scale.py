"""More or less of a trace: requests are thinned, clients are kept whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.twin.generate import generate, parse
from headrace.twin.scale import scale_clients, thin, with_batch
from headrace.twin.trace import BATCH, Trace, merge, trace_of

HOUR = 3_600_000_000


def dispersion(trace: Trace) -> float:
    """Variance over mean of counts of 10 s."""
    counts = np.bincount(trace.arrival_us // 10_000_000, minlength=trace.span_us // 10_000_000)
    return float(counts.var() / counts.mean())


def bursty_clients(count: int) -> Trace:
    parts = []
    for number in range(count):
        one = generate(*parse(f"onoff,rate=0.1,hours=12,on=30,off=600,seed={number + 1}"))
        columns = {"arrival_us": one.arrival_us, "input_tokens": one.input_tokens, "output_tokens": one.output_tokens}
        parts.append(trace_of(columns, tenants=[f"c{number}"], span_us=one.span_us))
    return merge(*parts)


CLIENTS = bursty_clients(60)


@given(st.floats(0.05, 1), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_thinning_keeps_the_order_and_the_expected_count(part, seed):
    less = thin(CLIENTS, part, seed)
    count = len(CLIENTS)
    assert abs(len(less) - part * count) <= 6 * (part * (1 - part) * count) ** 0.5
    assert (np.diff(less.arrival_us) >= 0).all()
    assert less.span_us == CLIENTS.span_us


@given(st.sampled_from([0.4, 0.5, 1.0, 1.5, 2.0, 3.0]), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_whole_clients_keep_the_index_of_dispersion(factor, seed):
    scaled = scale_clients(CLIENTS, factor, seed)
    assert dispersion(scaled) == pytest.approx(dispersion(CLIENTS), rel=0.3)
    assert len(scaled) == pytest.approx(factor * len(CLIENTS), rel=0.3)
    assert len(scaled.tenants) == round(60 * factor)
    assert scaled.span_us == CLIENTS.span_us


def test_thinned_requests_lose_their_bursts():
    """1 + p (I - 1)."""
    assert dispersion(thin(CLIENTS, 0.25, 1)) == pytest.approx(1 + 0.25 * (dispersion(CLIENTS) - 1), rel=0.1)
    assert dispersion(scale_clients(CLIENTS, 0.25, 1)) > 2 * dispersion(thin(CLIENTS, 0.25, 1))


def test_once_is_the_trace_itself():
    same = scale_clients(CLIENTS, 1, 5)
    assert (same.arrival_us == CLIENTS.arrival_us).all()
    assert same.tenants == CLIENTS.tenants


def test_a_client_is_kept_whole_or_left_out():
    less = scale_clients(CLIENTS, 0.3, 4)
    had = dict(zip(CLIENTS.tenants, np.bincount(CLIENTS.tenant).tolist(), strict=True))
    assert dict(zip(less.tenants, np.bincount(less.tenant).tolist(), strict=True)) == {
        name: had[name] for name in less.tenants
    }


def test_copies_have_names_and_prefixes_of_their_own_and_the_time_of_day_stays():
    columns = {
        "arrival_us": np.arange(24, dtype=np.int64) * HOUR % (6 * HOUR) + 9 * HOUR,
        "input_tokens": [5] * 24,
        "output_tokens": [1] * 24,
    }
    trace = trace_of(columns | {"prefix": [0] * 24, "prefix_tokens": [4] * 24}, tenants=["a"], span_us=72 * HOUR)
    twice = scale_clients(trace, 2, 1)
    assert twice.tenants == ("a", "a~2")
    assert len(np.unique(twice.prefix)) == 2
    assert (twice.arrival_us % (24 * HOUR) >= 8 * HOUR).all()
    assert (twice.arrival_us % (24 * HOUR) <= 15 * HOUR).all()


@pytest.mark.parametrize("factor", [0, -1, float("nan"), 1001, 1e-9])
def test_what_is_no_factor_is_refused(factor):
    with pytest.raises(Invalid, match="factor"):
        scale_clients(trace_of({"arrival_us": [0], "input_tokens": [1], "output_tokens": [1]}), factor, 1)


@pytest.mark.parametrize("part", [0, -1, float("nan"), 1.1])
def test_what_is_no_part_is_refused(part):
    with pytest.raises(Invalid, match="part"):
        thin(CLIENTS, part, 1)


@given(st.floats(0.01, 2), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_batch_work_comes_beside_what_is_there(part, seed):
    """Everything else stays as it was; batch requests are like the trace's own, and nobody's session."""
    more = with_batch(CLIENTS, part, seed)
    batch = more.select(more.priority == BATCH)
    assert len(batch) == round(part * len(CLIENTS))
    assert (more.select(more.priority != BATCH).arrival_us == CLIENTS.arrival_us).all()
    assert batch.input_tokens.mean() == pytest.approx(CLIENTS.input_tokens.mean(), rel=0.5)
    assert (batch.prefix == -1).all()
    assert {more.tenants[place] for place in set(batch.tenant.tolist())} == {"batch"}


def test_no_batch_work_is_a_mistake():
    with pytest.raises(Invalid, match="batch requests"):
        with_batch(CLIENTS, 0, 1)
