"""Frames: whatever happens to a file's end, what was whole before is read, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.stores.framing import ENTRY_BYTES_MAX, HEAD, frame, unframe
from tests.stores.entries import any_entry, usage


@given(st.lists(any_entry, max_size=8), st.data())
def test_a_file_cut_at_any_byte_yields_a_prefix_of_its_entries(entries, data):
    """A torn tail is no damage, and no entry is ever half read."""
    frames = [frame(entry) for entry in entries]
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    found, taken, damaged = unframe(whole[:cut])
    assert found == entries[: len(found)]
    assert taken == sum(len(one) for one in frames[: len(found)]) <= cut
    assert not damaged
    assert len(found) == len(entries) or cut < taken + len(frames[len(found)])


@given(st.lists(any_entry, min_size=1, max_size=5), st.data())
def test_a_changed_byte_yields_nothing_that_was_not_written(entries, data):
    """Reading stops at the change: as damage, or as a tail that never becomes whole."""
    whole = bytearray(b"".join(frame(entry) for entry in entries))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    found, taken, _ = unframe(bytes(whole))
    assert found == entries[: len(found)]
    assert taken <= at
    assert len(found) < len(entries)


@pytest.mark.parametrize("tail", [bytes(64), HEAD.pack(ENTRY_BYTES_MAX + 1, 0), HEAD.pack(3, 0x352441C2) + b"abc"])
def test_what_was_never_a_frame_is_damage(tail):
    """Zeros after a power cut, an absurd length, a body that is no entry."""
    whole = frame(usage("one"))
    assert unframe(whole + tail) == ([usage("one")], len(whole), True)


def test_an_entry_that_no_reader_would_take_is_not_written():
    """Better refused now than found damaged later."""
    with pytest.raises(ValueError, match="at most 1048576 can be kept"):
        frame(usage("one", why="x" * ENTRY_BYTES_MAX))
