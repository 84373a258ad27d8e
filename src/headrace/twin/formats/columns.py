"""Delimited text as numpy columns, a block of lines at a time, without a Python object for each field.

A block is one array of bytes; the places of its separators give the beginning and end of each field, and numbers are
computed digit by digit for all rows at once. Blocks with quotes go through the csv module first. Errors name file,
line, field, value and fix.
"""

import csv
import dataclasses
import datetime
import io
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Invalid
from headrace.units import US_PER_S

BLOCK_BYTES: Final = 8 << 20
LINE_BYTES_MAX: Final = 1 << 20
BYTES_MAX: Final = 16 << 30  # unpacked
NAME_BYTES_MAX: Final = 256
DIGITS_MAX: Final = 18
COMMA, NEWLINE, POINT, ZERO, UNIT = ord(","), ord("\n"), ord("."), ord("0"), 0x1F
STAMP_BYTES: Final = 19  # YYYY-MM-DD HH:MM:SS
EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
SHOWN: Final = 60  # characters of a bad value in a message

Numbers = NDArray[np.int64]


@dataclasses.dataclass
class Block:
    """Rows of text: `begin` and `end` are the places of each field, of shape (rows, columns)."""

    source: str
    text: NDArray[np.uint8]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    lines: NDArray[np.int64]  # where each row stands in the file, from 1

    def __len__(self) -> int:
        return len(self.begin)

    def value(self, row: int, column: int) -> str:
        """A field as text."""
        return bytes(self.text[self.begin[row, column] : self.end[row, column]]).decode("utf-8", "replace").strip()

    def refuse(self, bad: NDArray[np.bool_], column: int, field: str, must: str) -> None:
        """Raises Invalid for the first row of `bad`, if there is one."""
        if not bad.any():
            return
        row = int(np.argmax(bad))
        text = self.value(row, column)
        found = f"is {text[:SHOWN]!r}" if text else "is missing"
        raise Invalid(
            f"{field} {found}, and must be {must}; correct the line or leave it out",
            param=field,
            where=f"{self.source}:{self.lines[row]}",
        )

    def select(self, mask: NDArray[np.bool_]) -> "Block":
        """Some of the rows."""
        return dataclasses.replace(self, begin=self.begin[mask], end=self.end[mask], lines=self.lines[mask])

    def integers(self, column: int, field: str, *, low: int = 0, high: int = 10**DIGITS_MAX - 1) -> Numbers:
        """Whole numbers from `low` (-1 or 0) to `high`; `12.0` is whole, too."""
        begin, end = self.begin[:, column], self.end[:, column]
        minus = (self.text[np.minimum(begin, len(self.text) - 1)] == ord("-")) & (end > begin)
        found, bad = digits(self.text, begin + minus, end)
        if bad.any():
            found, bad = self._each(column, 1, found, bad)
        found = np.where(minus & (found > 0), -found, found)
        self.refuse(bad | (found < low) | (found > high), column, field, f"a whole number from {low} to {high}")
        return found

    def decimals(self, column: int, field: str, *, unit: int, must: str = "a number, 0 or more") -> Numbers:
        """Numbers of 0 or more in multiples of 1/unit (a power of ten); smaller digits are dropped."""
        begin, end = self.begin[:, column], self.end[:, column]
        point = _first(self.text, begin, end, POINT)
        whole, bad = digits(self.text, begin, point)
        places = len(str(unit)) - 1
        part, bad_part = digits(self.text, np.minimum(point + 1, end), np.minimum(point + 1 + places, end), empty=0)
        short = places - np.clip(end - point - 1, 0, places)
        _, bad_rest = digits(self.text, np.minimum(point + 1 + places, end), end, empty=0)
        odd = bad | bad_part | bad_rest | (whole > (1 << 62) // unit)
        found: Numbers = np.where(odd, 0, whole) * unit + part * 10**short
        if odd.any():
            found, odd = self._each(column, unit, found, odd)
        self.refuse(odd | (found < 0), column, field, must)
        return found

    def moments_us(self, column: int, field: str) -> Numbers:
        """Seconds as they are, or timestamps since 1970, both in microseconds; a timestamp without a zone is UTC."""
        must = "a number of seconds, 0 or more, or a timestamp like 2024-05-10 00:00:00.25"
        begin, end = self.begin[:, column], self.end[:, column]
        dated = (end - begin >= STAMP_BYTES) & (self.text[np.minimum(begin + 4, len(self.text) - 1)] == ord("-"))
        if not dated.any():
            return self.decimals(column, field, unit=US_PER_S, must=must)
        some = int(np.argmax(dated))  # stands in for rows that are none, which are odd
        found, odd = _stamps_us(self.text, np.where(dated, begin, begin[some]), np.where(dated, end, end[some]))
        odd |= ~dated
        for row in np.flatnonzero(odd).tolist():
            try:
                at = datetime.datetime.fromisoformat(self.value(row, column))
            except ValueError:
                break  # the first that is wrong is all that is told
            since = (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)) - EPOCH
            found[row], odd[row] = since // datetime.timedelta(microseconds=1), False
        self.refuse(odd, column, field, must)
        return found

    def names(self, column: int, field: str, known: dict[str, int]) -> Numbers:
        """The place of each row's text in `known`, which learns new ones."""
        begin, end = self.begin[:, column], self.end[:, column]
        width = end - begin
        self.refuse(width > NAME_BYTES_MAX, column, field, f"a name of at most {NAME_BYTES_MAX} bytes")
        mixed = width.astype(np.uint64)
        for place in range(int(width.max(initial=0))):
            letter = self.text[np.minimum(begin + place, len(self.text) - 1)].astype(np.uint64) + np.uint64(1)
            mixed = np.where(
                place < width, (mixed ^ letter) * np.uint64(0x9E3779B97F4A7C15) + (mixed >> np.uint64(29)), mixed
            )
        _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
        if not self._same(begin, width, first[inverse]):  # two names with one hash: look at each row
            first, inverse = np.arange(len(self)), np.arange(len(self))
        places = [known.setdefault(self.value(int(row), column), len(known)) for row in first[np.argsort(first)]]
        numbers = np.empty(len(first), np.int64)
        numbers[np.argsort(first)] = places
        placed: Numbers = numbers[inverse]
        return placed

    def _same(self, begin: Numbers, width: Numbers, other: NDArray[np.intp]) -> bool:
        """Whether each row's text is that of its `other` row."""
        if (width != width[other]).any():
            return False
        for place in range(int(width.max(initial=0))):
            at, of = np.minimum(begin + place, len(self.text) - 1), np.minimum(begin[other] + place, len(self.text) - 1)
            if ((place < width) & (self.text[at] != self.text[of])).any():
                return False
        return True

    def _each(
        self, column: int, unit: int, found: Numbers, odd: NDArray[np.bool_]
    ) -> tuple[Numbers, NDArray[np.bool_]]:
        """The odd rows one by one: blanks, exponents, `12.0`, many digits; what is no number stays odd."""
        found, odd = found.copy(), odd.copy()
        for row in np.flatnonzero(odd).tolist():
            text = self.value(row, column)
            try:
                number = Decimal("nan" if "_" in text else text)
            except InvalidOperation:
                return found, odd  # the first that is wrong is all that is told
            if not number.is_finite() or number.adjusted() > DIGITS_MAX:
                return found, odd
            scaled = number * unit if unit > 1 else abs(number)
            whole = int(scaled)
            if abs(whole) >= 10**DIGITS_MAX or (unit == 1 and scaled != whole):
                return found, odd
            found[row], odd[row] = whole, False
        return found, odd


def digits(
    text: NDArray[np.uint8], begin: Numbers, end: Numbers, *, empty: int | None = None
) -> tuple[Numbers, NDArray[np.bool_]]:
    """Numbers of plain digits in text[begin:end], and which are none; no digit at all is `empty` if given."""
    width = end - begin
    bad = (width > DIGITS_MAX) | (width < (0 if empty is not None else 1))
    found = np.zeros(len(begin), np.int64)
    last = len(text) - 1
    for place in range(min(int(width.max(initial=0)), DIGITS_MAX)):
        inside = place < width
        digit = text[np.minimum(begin + place, last)].astype(np.int64) - ZERO
        bad |= inside & ((digit < 0) | (digit > 9))
        found = np.where(inside, found * 10 + digit, found)
    return found, bad


def _stamps_us(text: NDArray[np.uint8], begin: Numbers, end: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """`YYYY-MM-DD HH:MM:SS[.digits][Z or +00:00]` in microseconds since 1970, and which rows are not of this form."""
    bad = np.zeros(len(begin), bool)
    parts: list[Numbers] = []
    for start, width, low, high in (
        (0, 4, 1, 9999),
        (5, 2, 1, 12),
        (8, 2, 1, 31),
        (11, 2, 0, 23),
        (14, 2, 0, 59),
        (17, 2, 0, 59),
    ):
        part, odd = digits(text, begin + start, begin + start + width)
        bad |= odd | (part < low) | (part > high)
        parts.append(part)
    for place, letters in ((4, b"-"), (7, b"-"), (10, b" T"), (13, b":"), (16, b":")):
        bad |= ~np.isin(text[begin + place], np.frombuffer(letters, np.uint8))
    year, month, day, hour, minute, second = (np.where(bad, 1, part) for part in parts)
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int64)
    bad |= day > (months + 1).astype("datetime64[D]").astype(np.int64) - days
    utc = end - begin >= STAMP_BYTES + 6
    for place, letter in enumerate(b"+00:00"):
        utc &= text[np.maximum(end - 6 + place, 0)] == letter
    stop = end - np.where(utc, 6, text[end - 1] == ord("Z"))
    fraction = begin + STAMP_BYTES
    bad |= (stop > fraction) & (text[fraction] != POINT)
    first = np.minimum(fraction + 1, stop)
    micros, odd = digits(text, first, np.minimum(first + 6, stop), empty=0)
    _, odd_rest = digits(text, np.minimum(first + 6, stop), stop, empty=0)
    micros *= 10 ** (6 - np.clip(stop - first, 0, 6))
    seconds = (((days + day - 1) * 24 + hour) * 60 + minute) * 60 + second
    return seconds * US_PER_S + micros, bad | odd | odd_rest


def _first(text: NDArray[np.uint8], begin: Numbers, end: Numbers, letter: int) -> Numbers:
    """The place of the first `letter` of each field, or its end."""
    places = np.append(np.flatnonzero(text == letter), len(text))
    found: Numbers = np.minimum(places[np.searchsorted(places, begin)], end)
    return found


def blocks(file: IO[bytes], source: str, columns: int, *, line: int) -> Iterator[Block]:
    """The rest of a file, whose next line is number `line`, as blocks of rows with `columns` fields each.

    Blank lines are passed over. Raises Invalid for a row with more or fewer fields, and for lines without end.
    """
    rest, left = b"", BYTES_MAX
    while chunk := file.read(BLOCK_BYTES):
        left -= len(chunk)
        if left < 0:
            raise Invalid(f"more than {BYTES_MAX >> 30} GiB when unpacked; give a part of it", where=source)
        chunk = rest + chunk
        cut = chunk.rfind(b"\n") + 1
        chunk, rest = chunk[:cut], chunk[cut:]
        if len(rest) > LINE_BYTES_MAX:
            at = line + chunk.count(b"\n")
            raise Invalid(
                f"a line is longer than {LINE_BYTES_MAX} bytes; this is no table of requests", where=f"{source}:{at}"
            )
        if chunk:
            yield _block(chunk, source, columns, line)
            line += chunk.count(b"\n")
    if rest.strip():
        yield _block(rest + b"\n", source, columns, line)


def _block(chunk: bytes, source: str, columns: int, line: int) -> Block:
    separator = COMMA
    if b"\r" in chunk:
        chunk = chunk.replace(b"\r\n", b"\n")
    if b'"' in chunk:
        chunk, separator = _unquoted(chunk), UNIT
    text = np.frombuffer(chunk, np.uint8)
    ends = np.flatnonzero(text == NEWLINE)
    begins = np.r_[0, ends[:-1] + 1]
    filled = ends > begins
    lines = np.flatnonzero(filled) + line
    begins, ends = begins[filled], ends[filled]
    cuts = np.flatnonzero(text == separator)
    per_row = np.searchsorted(cuts, ends) - np.searchsorted(cuts, begins)
    odd = per_row != columns - 1
    if odd.any():
        row = int(np.argmax(odd))
        raise Invalid(
            f"this line has {per_row[row] + 1} fields and the heading {columns}; correct the line or leave it out",
            where=f"{source}:{lines[row]}",
        )
    inner = cuts.reshape(len(begins), columns - 1)
    return Block(source, text, *_bounds(begins, inner, ends), lines)


def _bounds(begins: Numbers, inner: Numbers, ends: Numbers) -> tuple[Numbers, Numbers]:
    """Where fields begin and end, a column's places side by side in memory."""
    return np.asfortranarray(np.c_[begins, inner + 1]), np.asfortranarray(np.c_[inner, ends])


def _unquoted(chunk: bytes) -> bytes:
    """The same lines without quotes, fields cut by the unit separator; a quoted line break leaves a broken row."""
    rows = (next(csv.reader([row]), []) for row in chunk.decode("utf-8", "replace").split("\n"))
    out = io.StringIO()
    for row in rows:
        out.write(chr(UNIT).join(row).replace("\n", " ") + "\n")
    return out.getvalue()[:-1].encode()
