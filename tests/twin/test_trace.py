"""A trace is sorted, checked, frozen; parts and sums of traces keep its rows."""

import numpy as np
import pytest

from headrace.errors import Invalid
from headrace.twin.trace import Trace, concat, merge, trace_of

HOUR = 3_600_000_000


def small(**more) -> Trace:
    columns = {"arrival_us": [10, 20, 40], "input_tokens": [5, 6, 7], "output_tokens": [1, 2, 3]} | more
    return trace_of(columns, source="small.csv")


def test_arrivals_are_counted_from_the_first():
    trace = small()
    assert (trace.arrival_us.tolist(), trace.span_us, len(trace), trace.notes) == ([0, 10, 30], 31, 3, ())
    assert trace.prefix.tolist() == [-1, -1, -1]


def test_disorder_is_sorted_and_told():
    trace = small(arrival_us=[20, 10, 40])
    assert trace.input_tokens.tolist() == [6, 5, 7]
    assert trace.notes == ("1 of 3 requests came before the one above them; sorted by arrival.",)


def test_a_long_silence_is_told():
    trace = trace_of({"arrival_us": [*range(60), 5 * HOUR], "input_tokens": [1] * 61, "output_tokens": [1] * 61})
    assert trace.notes == ("No request for 5.0 h from 0.0 h on: a gap in the record, or nobody came.",)


def test_columns_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        small().select([True, True, False]).arrival_us[0] = 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"input_tokens": [5, -6, 7]}, "request 1: input_tokens is -6, and must be a whole number from 0 to 16000000"),
        ({"output_tokens": [1, 2, 16_000_001]}, "request 2: output_tokens is 16000001"),
        ({"output_tokens": [1, 2, float("nan")]}, "request 2: output_tokens is nan"),
        ({"arrival_us": [1, float("nan"), 2]}, "request 1: arrival_us is nan"),
        ({"input_tokens": [1.5, 2, 3]}, "request 0: input_tokens is 1.5"),
        ({"input_tokens": [1, 2]}, "input_tokens has 2 rows and arrival_us 3"),
        ({"arrival_us": [0, 1, 1 << 60]}, "ten years"),
        ({"model": [0, 1, 0]}, "model 1 has no name among 1"),
        ({"prefix": [1, 1, 1], "prefix_tokens": [1, 9, 1]}, "a prefix of 9 tokens is longer than its input of 6"),
        ({"priority": [0, 3, 0]}, "priority is 3, and must be a whole number from 0 to 2"),
    ],
)
def test_what_can_be_no_trace_is_refused_with_row_field_value_and_limit(more, said):
    with pytest.raises(Invalid, match=said) as refused:
        small(**more)
    assert refused.value.where == "small.csv"


def test_no_request_is_no_trace():
    with pytest.raises(Invalid, match="no request"):
        trace_of({"arrival_us": [], "input_tokens": [], "output_tokens": []})


def test_a_slice_counts_from_its_beginning_and_lasts_as_long_as_asked():
    part = small().slice(5, 20)
    assert (part.arrival_us.tolist(), part.span_us, part.input_tokens.tolist()) == ([5], 15, [6])
    assert small().slice(11, 30).summary().requests == 0
    with pytest.raises(Invalid, match="no part of a trace that lasts 31 us"):
        small().slice(31, 40)


def test_merge_overlays_and_concat_appends_and_prefixes_stay_apart():
    one = small(prefix=[0, 0, -1], prefix_tokens=[4, 4, 0])
    both, after = merge(one, one), concat(one, one)
    assert both.arrival_us.tolist() == [0, 0, 10, 10, 30, 30]
    assert both.prefix.tolist() == [0, 1, 0, 1, -1, -1]
    assert (after.arrival_us.tolist(), after.span_us, after.models) == ([0, 10, 30, 31, 41, 61], 62, ("model",))


def test_names_are_joined_by_name():
    one = trace_of({"arrival_us": [0], "input_tokens": [1], "output_tokens": [1]}, models=["a"])
    two = trace_of(
        {"arrival_us": [0, 1], "input_tokens": [1, 1], "output_tokens": [1, 1], "model": [1, 0]}, models=["a", "b"]
    )
    assert (merge(one, two).models, merge(two, one).model.tolist()) == (("a", "b"), [1, 0, 0])


def test_a_summary_knows_rate_means_peak_and_shared_input():
    arrivals = np.r_[np.arange(60) * 1_000_000, 60_000_000 + np.arange(120) * 500_000]
    columns = {"arrival_us": arrivals, "input_tokens": [10] * 180, "output_tokens": [4] * 180}
    said = trace_of(columns | {"prefix": [7] * 180, "prefix_tokens": [5] * 180}, span_us=120_000_000).summary()
    assert (said.rate, said.peak_rate, said.input_mean, said.output_mean) == (1.5, 2.0, 10.0, 4.0)
    assert said.peak_over_mean == pytest.approx(4 / 3)
    assert said.shared_input == pytest.approx(179 * 5 / 1800)
