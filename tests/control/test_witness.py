"""The witness: a line an hour, read back, and no worse for a line that was not written whole."""

from pathlib import Path

from headrace.control.witness import Witness
from tests.control.sim import SimClock

HEAD = "ab" * 32


def test_what_is_noted_is_read_back_by_the_next_one(tmp_path: Path):
    """The same head twice is one line; an empty ledger is none."""
    witness = Witness(tmp_path / "witness", SimClock())
    witness.note(0, "")
    for _ in range(2):
        witness.note(7, HEAD)
    witness.note(9, "cd" * 32)
    assert Witness(tmp_path / "witness", SimClock()).heads() == {7: HEAD, 9: "cd" * 32}
    assert (tmp_path / "witness").stat().st_mode & 0o077 == 0
    assert len((tmp_path / "witness").read_text().splitlines()) == 2


def test_a_torn_line_is_left_out(tmp_path: Path):
    path = tmp_path / "witness"
    path.write_text(f"2026-11-24T10:00:00Z 7 {HEAD}\n2026-11-24T11:00:00Z 9 ab")
    assert Witness(path, SimClock()).heads() == {7: HEAD}


def test_there_is_nothing_before_the_first(tmp_path: Path):
    assert Witness(tmp_path / "witness", SimClock()).heads() == {}
