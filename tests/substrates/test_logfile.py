"""The log of a process that is not trusted: bounded in memory, in the file and in each line."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headrace.substrates.logfile import LINE_BYTES_MAX, LINES_KEPT, LogFile


def test_lines_arrive_in_pieces(tmp_path):
    """A line is kept when it is whole, or when its process has ended."""
    log = LogFile(tmp_path / "one.log")
    assert log.take(b"lo") == []
    assert log.take(b"ading\r\nhalf") == [b"loading\r"]
    log.end()
    assert list(log.lines) == ["loading", "half"]
    assert (tmp_path / "one.log").read_text() == "loading\nhalf\n"


def test_an_endless_line_is_cut_and_the_next_one_is_whole(tmp_path):
    """Its memory is bounded while it lasts."""
    log = LogFile(tmp_path / "one.log")
    for _ in range(100):
        log.take(b"x" * 60_000)
    log.take(b"end\nnext\n")
    assert [len(log.lines[0]), log.lines[1]] == [LINE_BYTES_MAX, "next"]


def test_only_the_last_lines_are_in_memory(tmp_path):
    """A thousand of them."""
    log = LogFile(tmp_path / "one.log")
    log.take(b"".join(b"%d\n" % number for number in range(LINES_KEPT + 5)))
    assert (len(log.lines), log.lines[0]) == (LINES_KEPT, "5")


def test_the_files_are_bounded(tmp_path):
    """One file and an older one, the newest lines in the first."""
    log = LogFile(tmp_path / "one.log", file_bytes_max=1_000)
    for number in range(200):
        log.take(b"line %04d of the log\n" % number)
    files = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert sorted(files) == ["one.log", "one.log.1"]
    assert max(files.values()) <= 1_000
    assert (tmp_path / "one.log").read_text().endswith("line 0199 of the log\n")


def test_a_disk_that_is_full_loses_lines_and_nothing_else(tmp_path):
    """Where no file can be written, memory still has them."""
    log = LogFile(tmp_path / "missing" / "one.log")
    log.take(b"hello\n")
    assert list(log.lines) == ["hello"]


def test_nothing_printed_acts_on_a_terminal(tmp_path):
    """Escape sequences of an engine's output are shown, not obeyed."""
    log = LogFile(tmp_path / "one.log")
    log.take(b"\x1b]0;owned\x07 caf\xc3\xa9 \xff\tok\n")
    assert list(log.lines) == ["�]0;owned� café �\tok"]


@given(st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"x", b"\n")), max_size=20))
def test_how_output_is_cut_into_pieces_changes_nothing(pieces):
    """The lines of a whole are the lines of its pieces."""
    whole, cut = LogFile(Path("/dev/null/none")), LogFile(Path("/dev/null/none"))
    lines = whole.take(b"".join(pieces))
    assert [line for piece in pieces for line in cut.take(piece)] == lines
