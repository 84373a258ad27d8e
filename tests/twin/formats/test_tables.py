"""What a trace writes is read again as the same trace."""

import io

from hypothesis import given
from hypothesis import strategies as st

from headrace.twin.formats import tables
from headrace.twin.trace import DTYPES, Trace, trace_of

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)


@st.composite
def traces(draw) -> Trace:
    models = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    tenants = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 10**12), st.integers(0, 16_000_000), st.integers(0, 16_000_000), st.integers(0, len(models) - 1),
                st.integers(0, len(tenants) - 1), st.integers(-1, 10**17), st.integers(0, 2),
            ),
            min_size=1,
        )
    )  # fmt: skip
    names = ("arrival_us", "input_tokens", "output_tokens", "model", "tenant", "prefix", "priority")
    columns = dict(zip(names, zip(*sorted(rows, key=lambda row: row[0]), strict=True), strict=True))
    columns["prefix_tokens"] = [
        size if prefix >= 0 else 0 for size, prefix in zip(columns["input_tokens"], columns["prefix"], strict=True)
    ]
    return trace_of(columns, models=models, tenants=tenants, span_us=draw(st.integers(10**12 + 1, 10**13)))


@given(traces())
def test_what_is_written_is_read_again(trace: Trace):
    text = io.StringIO()
    trace.to_csv(text)
    again = tables.read(io.BytesIO(text.getvalue().encode()), "again.csv")
    for name in set(DTYPES) - {"model", "tenant"}:
        assert getattr(again, name).tolist() == getattr(trace, name).tolist(), name
    for places, names in (("model", "models"), ("tenant", "tenants")):
        before, after = getattr(trace, names), getattr(again, names)
        assert [after[at] for at in getattr(again, places)] == [before[at] for at in getattr(trace, places)]
    assert (again.span_us, again.notes) == (trace.span_us, trace.notes)


def test_lines_are_counted_with_remarks():
    text = b"# one\n# span_us=9000000\narrival_s,input_tokens,output_tokens\n1,2,3\n"
    trace = tables.read(io.BytesIO(text), "t")
    assert (trace.arrival_us.tolist(), trace.span_us) == ([1_000_000], 9_000_000)
