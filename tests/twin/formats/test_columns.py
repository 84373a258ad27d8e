"""Text as columns: the digit arithmetic agrees with Python's, quotes and blanks are understood, errors have their line."""

import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.twin.formats import columns
from headrace.twin.formats.columns import Block, blocks


def block(*fields: str) -> Block:
    """One column of these fields, in one block."""
    (found,) = blocks(io.BytesIO("".join(f"{field},x\n" for field in fields).encode()), "t.csv", 2, line=2)
    return found


@given(st.lists(st.integers(0, 10**18 - 1), min_size=1))
def test_whole_numbers_are_those_of_python(numbers):
    assert block(*map(str, numbers)).integers(0, "n").tolist() == numbers


@given(st.lists(st.decimals(0, 10**9, places=6), min_size=1), st.integers(0, 6))
def test_decimals_are_exact_to_the_microsecond(numbers, places):
    texts = [f"{number:.{places}f}" for number in numbers]
    assert block(*texts).decimals(0, "t", unit=10**6).tolist() == [int(Decimal(text) * 10**6) for text in texts]


@given(
    st.lists(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)), min_size=1),
    st.sampled_from(["", "Z", "+00:00", "+02:00"]),
)
def test_timestamps_are_those_of_python(moments, zone):
    texts = [f"{moment.isoformat(' ')}{zone}" for moment in moments]
    known = [datetime.fromisoformat(text) for text in texts]
    since = [(at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC) for at in known]
    assert block(*texts).moments_us(0, "t").tolist() == [
        (gap.days * 86400 + gap.seconds) * 10**6 + gap.microseconds for gap in since
    ]


@given(st.lists(st.text('abc"é-/', max_size=9), min_size=1))
def test_names_are_numbered_as_they_come(names):
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    known: dict[str, int] = {}
    places = block(*quoted).names(0, "model", known).tolist()
    assert [list(known)[place] for place in places] == names
    assert list(known) == list(dict.fromkeys(names))


def test_names_with_one_hash_stay_two(monkeypatch):
    """Whatever the hash does: here all rows are said to be the first."""
    unique = columns.np.unique
    monkeypatch.setattr(columns.np, "unique", lambda mixed, **more: unique(mixed * 0, **more))
    known: dict[str, int] = {}
    assert block("a", "b", "a").names(0, "model", known).tolist() == [0, 1, 0]
    assert known == {"a": 0, "b": 1}


def test_odd_but_clear_numbers_are_read():
    assert block("12.0", " 7", "-1", "1e3").integers(0, "n", low=-1).tolist() == [12, 7, -1, 1000]
    assert block("1e-3", "2.", ".5", "0.0000019").decimals(0, "t", unit=10**6).tolist() == [1000, 2_000_000, 500_000, 1]


@pytest.mark.parametrize("bad", ["", "x", "1.5", "-2", "--1", "nan", "inf", "1e99999999", "10", "9" * 30, "0_1", "1 0"])
def test_what_is_no_number_has_its_line(bad):
    with pytest.raises(Invalid, match=r"n (is|is missing).* must be a whole number from -1 to 9") as error:
        block("1", bad, "2").integers(0, "n", low=-1, high=9)
    assert error.value.where == "t.csv:3"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        "nan",
        "-1",
        "1.2.3",
        "inf",
        "1.x",
        "2024-02-30 00:00:00",
        "2024-01-01 25:00:00",
        "2024-01-01 00:00:00.5x",
    ],
)
@pytest.mark.parametrize("beside", ["1", "2024-01-01 00:00:00"])
def test_what_is_no_moment_has_its_line(bad, beside):
    with pytest.raises(Invalid, match=r"t (is|is missing)") as error:
        block(bad, bad).moments_us(0, "t")
    assert error.value.where == "t.csv:2"
    with pytest.raises(Invalid, match=r"t (is|is missing)"):
        block(beside, bad).moments_us(0, "t")


@pytest.mark.parametrize("size", [7, 64, 8 << 20])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blocks_may_be_cut_anywhere(monkeypatch, size, end):
    monkeypatch.setattr(columns, "BLOCK_BYTES", size)
    text = end.join(["1,a", "", "2,b", "33333,c", "", "4,d"])
    known: dict[str, int] = {}
    found = [
        (number, name, line)
        for part in blocks(io.BytesIO(text.encode()), "t", 2, line=2)
        for number, name, line in zip(
            part.integers(0, "n").tolist(), part.names(1, "m", known).tolist(), part.lines.tolist(), strict=True
        )
    ]
    assert found == [(1, 0, 2), (2, 1, 4), (33333, 2, 5), (4, 3, 7)]


@pytest.mark.parametrize("row", ["1", "1,2,3", '"1,2"'])
def test_rows_have_as_many_fields_as_the_heading(row):
    with pytest.raises(Invalid, match=r"^t:3 this line has . fields? and the heading 2"):
        list(blocks(io.BytesIO(f"1,2\n{row}\n".encode()), "t", 2, line=2))


def test_a_line_without_end_and_a_file_without_end_are_refused(monkeypatch):
    monkeypatch.setattr(columns, "LINE_BYTES_MAX", 10)
    monkeypatch.setattr(columns, "BLOCK_BYTES", 16)
    with pytest.raises(Invalid, match="longer than 10 bytes"):
        list(blocks(io.BytesIO(b"1,2\n" + b"1" * 40), "t", 2, line=2))
    monkeypatch.setattr(columns, "BYTES_MAX", 20)
    with pytest.raises(Invalid, match="GiB when unpacked"):
        list(blocks(io.BytesIO(b"\n" * 100), "t", 2, line=2))
