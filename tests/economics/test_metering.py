"""What was used is what the record says was worked on and delivered; how it travelled is nobody's business."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.economics.metering import measured, quantities
from headrace.specs.priced import UNITS
from headrace.state.usage import Usage
from headrace.wire.usage import Counts

rows = st.builds(
    Usage,
    request=st.just("r"), epoch=st.just("e"), tenant=st.just("t"), key=st.just("k"), model=st.just("m"),
    task=st.sampled_from(["chat", "embed", "rerank"]),
    outcome=st.sampled_from(["finished", "cancelled", "failed", "refused"]),
    status=st.just(200), arrived_us=st.just(0), ended_us=st.just(9), input_tokens=st.integers(0, 10**6),
    cached_tokens=st.integers(0, 10**6), output_tokens=st.integers(0, 10**6), items=st.integers(0, 100),
    busy_us=st.integers(0, 10**9), first_us=st.integers(0, 10),
)  # fmt: skip


@given(rows, st.booleans(), st.integers(0, 100), st.text(max_size=5))
def test_streamed_and_buffered_are_measured_alike(row, stream, events, why):
    """And so is whatever else says how it was served, and where."""
    other = msgspec.structs.replace(row, stream=stream, events=events, why=why, replica="r/1", queue_us=7, attempts=3)
    assert quantities(row) == quantities(other)


@given(rows.filter(lambda row: row.outcome == "finished"))
def test_cancelled_at_k_is_measured_as_finished_at_k(row):
    """And a failure of ours as well, once something was delivered."""
    assert quantities(msgspec.structs.replace(row, outcome="cancelled")) == quantities(row)
    assert quantities(msgspec.structs.replace(row, outcome="failed", first_us=1)) == quantities(row)


@given(rows)
def test_what_is_measured_is_in_the_record(row):
    """Prompt tokens are fresh or cached, no unit is 0 or unknown, and a request counts once."""
    used = quantities(row)
    assert set(used) <= set(UNITS)
    assert all(amount > 0 for amount in used.values())
    if used:
        assert used["requests"] == 1
        assert used.get("input_tokens", 0) + used.get("cached_tokens", 0) == max(row.input_tokens, row.cached_tokens)
        assert used.get("output_tokens", 0) == row.output_tokens


@given(rows)
def test_who_got_nothing_owes_nothing(row):
    """Refused; failed before the first byte; left before anybody worked on it."""
    if row.outcome == "refused" or (row.outcome == "failed" and not row.first_us):
        assert quantities(row) == {}
    idle = msgspec.structs.replace(row, input_tokens=0, output_tokens=0, items=0, busy_us=0)
    assert not set(quantities(idle)) - {"cached_tokens", "requests"} or not row.cached_tokens
    assert quantities(msgspec.structs.replace(idle, cached_tokens=0)) == {}


def test_items_are_counted_in_the_unit_of_their_task():
    """Embeddings, documents; a chat has none."""
    counts = Counts(input_tokens=5, items=3)
    found = {task: measured(task, "finished", counts, began=True, busy_us=1) for task in ("chat", "embed", "rerank")}
    assert [found["embed"]["embeddings"], found["rerank"]["documents"]] == [3, 3]
    assert set(found["chat"]) == {"input_tokens", "requests", "busy_us"}
