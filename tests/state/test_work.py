"""The work of a request."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.state.work import WorkRate

counts = st.integers(0, 10**6)


@given(counts, counts, counts, counts, counts)
def test_work_is_never_nothing_and_grows_with_tokens(fixed, each_in, each_out, tokens_in, tokens_out):
    rate = WorkRate(fixed_ns=fixed, input_ns=each_in, output_ns=each_out)
    assert 1 <= rate.work_us(tokens_in, tokens_out) <= rate.work_us(tokens_in + 1, tokens_out + 1)
