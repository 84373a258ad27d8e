"""Reading journals: from any position, beside the writer, and what a dead gateway owed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.stores import journal_reader
from headrace.stores.framing import frame
from tests.stores.entries import any_entry, begun, progress, usage


def test_files_come_in_the_order_they_were_written(tmp_path):
    """Epochs by name, which begins with their time; segments by number; nothing that is no journal."""
    for name in ("b.log", "a.2.log", "a.10.log", "a.log", "a.1.new", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in journal_reader.files(tmp_path)] == ["a.log", "a.2.log", "a.10.log", "b.log"]
    assert journal_reader.files(tmp_path / "missing") == []


def test_reading_goes_on_where_it_ended(tmp_path):
    """A torn tail is read once it is whole, and not before."""
    path, one, two = tmp_path / "e.log", frame(begun("one")), frame(usage("one"))
    path.write_bytes(one + two[:7])
    assert journal_reader.read(path, 0) == ([begun("one")], len(one), False)
    assert journal_reader.read(path, len(one)) == ([], len(one), False)
    path.write_bytes(one + two)
    assert journal_reader.read(path, len(one)) == ([usage("one")], len(one + two), False)
    assert journal_reader.read(path, 0, until=len(one)) == ([begun("one")], len(one), False)


def test_damage_is_told_and_stops_the_reading(tmp_path):
    """What stands before it is read."""
    path, one = tmp_path / "e.log", frame(begun("one"))
    path.write_bytes(one + b"\xff" * 50)
    assert journal_reader.read(path, 0) == ([begun("one")], len(one), True)


def test_a_file_that_is_gone_or_shorter_has_no_more_entries(tmp_path):
    """A group that failed is cut away after it may have been read."""
    path = tmp_path / "e.log"
    assert journal_reader.read(path, 7) == ([], 7, False)
    path.write_bytes(frame(begun("one")))
    assert journal_reader.read(path, 10_000) == ([], 10_000, False)


def test_a_dead_gateway_owes_the_end_of_what_began(tmp_path):
    """Failed as `gateway_lost`, with the tokens of the last mark, ended when the death was noticed."""
    entries = [
        begun("done"), begun("open", stream=True), begun("silent"), usage("done"),
        progress("open", 5, replica="r1", version="v1"), progress("open", 9, replica="r2", version="v1"),
    ]  # fmt: skip
    first, second = journal_reader.settle_dead(entries, ended_us=5_000)
    assert first == usage(
        "open", outcome="failed", status=502, code="gateway_lost", ended_us=5_000, stream=True, version="v1",
        replica="r2", output_tokens=9, counted="gateway", attempts=1, error=first.error,
        sent_us=first.arrived_us, left_us=first.left_us,
    )  # fmt: skip
    assert (second.request, second.output_tokens, second.replica) == ("silent", 0, "")


@pytest.mark.parametrize("ended_us", [0, 1_000, 2_000])
def test_nothing_ends_before_it_arrived(ended_us):
    """Also when a clock was set back."""
    (row,) = journal_reader.settle_dead([begun("one")], ended_us)
    assert row.ended_us == max(1_000, ended_us)


@given(st.lists(any_entry, max_size=30))
def test_each_request_that_began_is_ended_exactly_once(entries):
    """By its own record or by the settlement, never by both."""
    began_last: dict[str, bool] = {}
    for entry in entries:
        if entry == begun(entry.request, **_place(entry)):
            began_last[entry.request] = True
        elif hasattr(entry, "outcome"):
            began_last[entry.request] = False
    settled = [row.request for row in journal_reader.settle_dead(entries, 9_000)]
    assert sorted(settled) == sorted(name for name, is_open in began_last.items() if is_open)


def _place(entry):
    return {name: getattr(entry, name) for name in ("tenant", "stream") if hasattr(entry, name)}
